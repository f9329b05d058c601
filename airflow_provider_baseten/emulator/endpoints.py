"""Models and chains: their deployments, and the environments that point at the deployments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import not_found
from airflow_provider_baseten.emulator.instance_types import DEFAULT_INSTANCE_TYPE, InstanceType, find_instance_type
from airflow_provider_baseten.emulator.replicas import Scaling

EndpointKind = Literal["model", "chain"]


class MakeDeployment(Protocol):
    """Function that makes a deployment."""

    def __call__(self, deployment_id: str, source: str | None = None) -> Deployment:
        """Return a new deployment.

        :param deployment_id: its id.
        :param source: id of a deployment with the same backend.
        """


@dataclass(frozen=True, slots=True)
class Model:
    """Model or chain to deploy.

    :param backend: a Python callable, the path of a Truss directory, an ASGI app (a custom server), or an
        :class:`~airflow_provider_baseten.emulator.upstream.Upstream`.
    :param name: name in the management API, by default the id.
    :param environments: names of the environments, by default ``production`` and ``development``. Every environment
        except ``development`` has a deployment of its own. ``development`` shares the first deployment, usually that of
        ``production``. Each deployment has its own replicas. Each deployment of a Truss directory also has its own
        model object, which is loaded again whenever the deployment starts; other backends are shared.
    :param regional_environments: names of the regional environments. A request can name a regional environment
        in its host name. ``environments`` need not repeat these names.
    :param deployment_id: id of the first deployment, by default ``{id}d1``. The others are ``{id}d2`` and so on.
    :param scaling: replicas and concurrency of each deployment.
    :param predict_path: path on which the backend makes predictions. The default is ``/predict`` for an ASGI app, and
        the path of Truss's server for the other backends. A Python callable always uses the default.
    :param secrets: name -> value of each secret, for a backend that is a Truss directory.
    :param candidates: id -> backend of each additional deployment. A candidate is in no environment until it is
        promoted. The backend ``None`` stands for that of the other deployments.
    :param instance_type: id of the instance type, one that the management API lists. It has a price, but no effect.
    """

    backend: Any
    name: str | None = None
    environments: tuple[str, ...] = ("production", "development")
    regional_environments: tuple[str, ...] = ()
    deployment_id: str | None = None
    scaling: Scaling = field(default_factory=Scaling)
    predict_path: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    candidates: Mapping[str, Any] = field(default_factory=dict)
    instance_type: str = DEFAULT_INSTANCE_TYPE.id


@dataclass(slots=True, eq=False)
class Endpoint:
    """Deployed model or chain.

    :param kind: ``model`` or ``chain``.
    :param id: id of the model or chain.
    :param name: name of the model or chain.
    :param created_at: time of creation in seconds since the epoch.
    :param deployments: deployments by id.
    :param environments: environments by name.
    :param regional_environments: names of the regional environments. The host name of a request can contain one of
        these names.
    :param make_deployment: function that returns a new deployment with the given id.
    :param instance_type: instance type of new deployments.
    """

    kind: EndpointKind
    id: str
    name: str
    created_at: float
    deployments: dict[str, Deployment]
    environments: dict[str, Environment]
    regional_environments: frozenset[str]
    make_deployment: MakeDeployment
    instance_type: InstanceType

    @classmethod
    def deploy(
        cls,
        kind: EndpointKind,
        id_: str,
        model: Model,
        make_deployment: MakeDeployment,
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
        assigned = _assign_environments(id_, model)
        ids = dict.fromkeys((*assigned.values(), *model.candidates))
        return cls(
            kind=kind,
            id=id_,
            name=model.name or id_,
            created_at=created_at,
            deployments={one: make_deployment(one) for one in ids},
            environments={
                name: Environment(name, created_at, model.scaling, deployment_id, model.instance_type)
                for name, deployment_id in assigned.items()
            },
            regional_environments=frozenset(model.regional_environments),
            make_deployment=make_deployment,
            instance_type=find_instance_type(model.instance_type),
        )

    def deploy_again(self, deployment_id: str) -> Deployment:
        """Add a new deployment with the same backend as another one, and build it.

        :param deployment_id: id of the other deployment.
        """
        number = len(self.deployments) + 1
        while (id_ := f"{self.id}d{number}") in self.deployments:
            number += 1
        deployment = self.deployments[id_] = self.make_deployment(id_, deployment_id)
        deployment.redeploy()
        return deployment

    def find(self, address: Address) -> Deployment:
        """Return the deployment that a request addresses.

        :param address: address of a request to this model or chain.
        :raises GatewayError: 404 if there is no such deployment.
        """
        if address.regional and address.environment not in self.regional_environments:
            raise not_found(f"{self.kind} {self.id} has no regional environment {address.environment}.")
        deployment_id = address.deployment_id
        if deployment_id is None:
            environment = self.environments.get(address.environment or "")
            if environment is None:
                raise not_found(f"{self.kind} {self.id} has no environment {address.environment}.")
            deployment_id = environment.select_deployment()
            if deployment_id is None:
                raise not_found(f"{self.kind} {self.id} has no deployment in {address.environment}.")
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


def environments_of(endpoint: Endpoint, deployment_id: str) -> list[Environment]:
    """Return the environments that a deployment is in."""
    return [environment for environment in endpoint.environments.values() if environment.deployment_id == deployment_id]
