"""Deployments of models and chains, and the environments that point at the deployments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request, not_found
from airflow_provider_baseten.emulator.replicas import Replicas, Scaling

EndpointKind = Literal["model", "chain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of body sizes (in bytes) and of times (in seconds).

    The defaults are those of Baseten. Shorter times make tests fast.

    :param body_bytes: maximum size of a request body. A request with a larger body gets status 413.
    :param predict_seconds: maximum duration of a prediction. A caller whose prediction takes longer gets status 504.
    :param parking_seconds: maximum time that a request waits for a replica. A request that waits longer gets status
        500.
    :param async_body_bytes: maximum size of the body of an async submission. A submission with a larger body gets
        status 413.
    :param async_predict_seconds: maximum duration of a prediction for an async request.
    :param async_retention_seconds: time for which the status of an ended async request can be read. Later status calls
        get status 404.
    :param webhook_seconds: maximum time for one attempt to deliver a webhook.
    :param webhook_retry_seconds: time between the two attempts to deliver a webhook. There is no third attempt.
    """

    body_bytes: int = 100_000_000
    predict_seconds: float = 1200.0
    parking_seconds: float = 1200.0
    async_body_bytes: int = 262_144
    async_predict_seconds: float = 3600.0
    async_retention_seconds: float = 3600.0
    webhook_seconds: float = 10.0
    webhook_retry_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Model:
    """Model or chain to deploy.

    :param backend: a Python callable, the path of a Truss directory, an ASGI app (a custom server), or an
        :class:`~airflow_provider_baseten.emulator.upstream.Upstream`.
    :param name: name in the management API, by default the id.
    :param environments: names of the environments, by default ``production`` and ``development``. Every environment
        except ``development`` has a deployment of its own. ``development`` shares the first deployment, usually that of
        ``production``. Each deployment has its own replicas, but all deployments share one loaded model.
    :param regional_environments: names of the regional environments. A request can name a regional environment
        in its host name. ``environments`` need not repeat these names.
    :param deployment_id: id of the first deployment, by default ``{id}d1``. The others are ``{id}d2`` and so on.
    :param scaling: replicas and concurrency of each deployment.
    :param predict_path: path on which the backend makes predictions. The default is ``/predict`` for an ASGI app, and
        the path of Truss's server for the other backends. A Python callable always uses the default.
    :param secrets: name -> value of each secret, for a backend that is a Truss directory.
    """

    backend: Any
    name: str | None = None
    environments: tuple[str, ...] = ("production", "development")
    regional_environments: tuple[str, ...] = ()
    deployment_id: str | None = None
    scaling: Scaling = field(default_factory=Scaling)
    predict_path: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)


class Deployment:
    """Deployment of a model or chain.

    :param id: id of the deployment.
    :param app: ASGI app that runs the model.
    :param predict_path: path on which the app makes predictions.
    :param replicas: replicas of the deployment.
    """

    def __init__(self, id: str, app: ASGIApp, predict_path: str, replicas: Replicas) -> None:  # noqa: A002
        self.id = id
        self.app = app
        self.predict_path = predict_path
        self.replicas = replicas
        self.is_active = True

    @property
    def status(self) -> str:
        """Status that the management API reports for the deployment."""
        if not self.is_active:
            return "INACTIVE"
        if self.replicas.ready:
            return "ACTIVE"
        return "WAKING_UP" if self.replicas.starting else "SCALED_TO_ZERO"

    def deactivate(self) -> None:
        """Stop the replicas. Requests get status 400 while the deployment is deactivated."""
        self.is_active = False
        self.replicas.stop(_deactivated())

    def activate(self) -> None:
        """Start the replicas, and accept requests again."""
        self.is_active = True
        self.replicas.restart()

    def check_active(self) -> None:
        """Raise GatewayError with status 400 if the deployment is deactivated."""
        if not self.is_active:
            raise _deactivated()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Deployed model or chain.

    :param kind: ``model`` or ``chain``.
    :param id: id of the model or chain.
    :param name: name of the model or chain.
    :param created_at: time of creation in seconds since the epoch.
    :param deployments: deployments by id.
    :param environments: name of an environment -> id of its deployment.
    :param regional_environments: names of the regional environments. The host name of a request can contain one of
        these names.
    """

    kind: EndpointKind
    id: str
    name: str
    created_at: float
    deployments: dict[str, Deployment]
    environments: dict[str, str]
    regional_environments: frozenset[str]

    @classmethod
    def deploy(
        cls,
        kind: EndpointKind,
        id_: str,
        model: Model,
        make_deployment: Callable[[str], Deployment],
        *,
        created_at: float,
    ) -> "Endpoint":
        """Make the deployments for all environments of a model or chain, and return the deployed endpoint.

        :param kind: ``model`` or ``chain``.
        :param id_: id of the model or chain.
        :param model: the model or chain to deploy, with its backend and environments.
        :param make_deployment: function that returns a new deployment with the given id.
        :param created_at: time of creation in seconds since the epoch.
        """
        environments = _assign_environments(id_, model)
        return cls(
            kind=kind,
            id=id_,
            name=model.name or id_,
            created_at=created_at,
            deployments={one: make_deployment(one) for one in dict.fromkeys(environments.values())},
            environments=environments,
            regional_environments=frozenset(model.regional_environments),
        )

    def find(self, address: Address) -> Deployment:
        """Return the deployment that a request addresses.

        :param address: address of a request to this model or chain.
        :raises GatewayError: 404 if there is no such deployment.
        """
        if address.regional and address.environment not in self.regional_environments:
            raise not_found(f"{self.kind} {self.id} has no regional environment {address.environment}.")
        deployment_id = address.deployment_id
        if deployment_id is None:
            deployment_id = self.environments.get(address.environment or "")
            if deployment_id is None:
                raise not_found(f"{self.kind} {self.id} has no environment {address.environment}.")
        deployment = self.deployments.get(deployment_id)
        if deployment is None:
            raise not_found(f"{self.kind} {self.id} has no deployment {deployment_id}.")
        return deployment


def _assign_environments(id_: str, model: Model) -> dict[str, str]:
    """Return a mapping from the name of each environment to the id of the deployment that it uses."""
    first = model.deployment_id or f"{id_}d1"
    names = dict.fromkeys((*model.environments, *model.regional_environments))
    stable = [name for name in names if name != "development"]
    ids = {name: first if number == 1 else f"{id_}d{number}" for number, name in enumerate(stable, 1)}
    return {name: ids.get(name, first) for name in names}


def _deactivated() -> GatewayError:
    return bad_request("The deployment is deactivated; activate it first.")
