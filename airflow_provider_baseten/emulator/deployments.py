"""What is deployed: models and chains, their deployments, and the environments that point at them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request, not_found
from airflow_provider_baseten.emulator.replicas import Replicas, Scaling

Kind = Literal["model", "chain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Baseten's fixed limits; smaller ones make tests quick.

    :param body_bytes: largest request body; a larger one is answered with 413.
    :param predict_seconds: longest that a model may take; then 504.
    :param parking_seconds: longest that a request waits for a replica; then 500.
    :param async_body_bytes: largest body of an async submission; a larger one is answered with 413.
    :param async_predict_seconds: longest that a model may take for an async request.
    :param async_retention_seconds: how long the status of a finished async request is kept; then 404.
    :param webhook_seconds: longest that the receiver of a webhook may take.
    :param webhook_retry_seconds: time between the two attempts to deliver a webhook.
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
    """A model or a chain to deploy.

    :param backend: what answers: a Python callable, the path of a Truss directory, an ASGI app (a custom server), or an
        :class:`~airflow_provider_baseten.emulator.upstream.Upstream`.
    :param name: name that the management API shows, by default the id.
    :param environments: environments that it is deployed to. Each is a deployment of its own, with its own replicas, of
        the same running model; ``development`` shares the first one.
    :param regional_environments: environments that are regional; only these can be addressed by a regional host.
    :param deployment_id: id of the first deployment, by default ``{id}d1``; the others are ``{id}d2`` and so on.
    :param scaling: how it scales.
    :param predict_path: path on the server that predictions are sent to, by default Truss's own, for an ASGI app
        ``/predict``.
    :param secrets: secrets of a Truss directory, by name.
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
    """One running version of a model or chain.

    :param id: its id.
    :param app: the server inside the container.
    :param predict_path: path on that server that predictions are sent to.
    :param replicas: its replicas.
    """

    def __init__(self, id: str, app: ASGIApp, predict_path: str, replicas: Replicas) -> None:  # noqa: A002
        self.id = id
        self.app = app
        self.predict_path = predict_path
        self.replicas = replicas
        self.active = True

    @property
    def status(self) -> str:
        """Status as the management API shows it."""
        if not self.active:
            return "INACTIVE"
        if self.replicas.ready:
            return "ACTIVE"
        return "WAKING_UP" if self.replicas.starting else "SCALED_TO_ZERO"

    def deactivate(self) -> None:
        """Stop the replicas; requests are refused with 400 until it is activated again."""
        self.active = False
        self.replicas.stop(_deactivated())

    def activate(self) -> None:
        """Take requests again."""
        self.active = True
        self.replicas.restart()

    def check_active(self) -> None:
        """Raise the gateway's 400 if it is deactivated."""
        if not self.active:
            raise _deactivated()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model or chain as the gateway knows it.

    :param kind: model or chain.
    :param id: its id.
    :param name: its name.
    :param created_at: when it was made, seconds since the epoch.
    :param deployments: its deployments by id.
    :param environments: name of an environment -> id of the deployment behind it.
    :param regional_environments: environments that a regional host may name.
    """

    kind: Kind
    id: str
    name: str
    created_at: float
    deployments: dict[str, Deployment]
    environments: dict[str, str]
    regional_environments: frozenset[str]

    @classmethod
    def deploy(
        cls, kind: Kind, id_: str, model: Model, make: Callable[[str], Deployment], *, created_at: float
    ) -> "Endpoint":
        """Return a model or chain with a deployment behind each environment.

        :param make: makes the deployment with an id.
        """
        environments = _environments(id_, model)
        return cls(
            kind=kind,
            id=id_,
            name=model.name or id_,
            created_at=created_at,
            deployments={deployment_id: make(deployment_id) for deployment_id in dict.fromkeys(environments.values())},
            environments=environments,
            regional_environments=frozenset(model.regional_environments),
        )

    def find(self, address: Address) -> Deployment:
        """Return the deployment that an address names.

        :raises GatewayError: 404 when there is none.
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


def _environments(id_: str, model: Model) -> dict[str, str]:
    """Return the id of the deployment behind each environment."""
    first = model.deployment_id or f"{id_}d1"
    names = dict.fromkeys((*model.environments, *model.regional_environments))
    stable = [name for name in names if name != "development"]
    ids = {name: first if number == 1 else f"{id_}d{number}" for number, name in enumerate(stable, 1)}
    return {name: ids.get(name, first) for name in names}


def _deactivated() -> GatewayError:
    return bad_request("The deployment is deactivated; activate it first.")
