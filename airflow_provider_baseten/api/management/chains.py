"""Chains, their deployments and their environments."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from airflow_provider_baseten.api.management.autoscaling import (
    Acceptance,
    AutoscalingSettings,
    AutoscalingUpdate,
    check_autoscaling,
)
from airflow_provider_baseten.api.management.call import Call, change, get, reads
from airflow_provider_baseten.api.management.environments import Promotion
from airflow_provider_baseten.api.management.instances import InstanceType
from airflow_provider_baseten.api.management.models import Deleted
from airflow_provider_baseten.api.management.path import chain_path, segment
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.arguments import check_flags
from airflow_provider_baseten.exceptions import BasetenInputError


class Chain(Resource):
    """Chain."""

    id: str
    name: str
    created_at: Time | None = None
    deployments_count: int | None = None
    team_name: str | None = None


class Chainlet(Resource):
    """Chainlet in a deployment of a chain."""

    id: str
    name: str
    status: str
    autoscaling_settings: AutoscalingSettings | None = None
    instance_type_name: str | None = None
    active_replica_count: int = 0


class ChainDeployment(Resource):
    """Deployment of a chain; its ``status`` is one of those of a model's deployment."""

    id: str
    status: str
    chain_id: str | None = None
    created_at: Time | None = None
    environment: str | None = None
    chainlets: list[Chainlet] = Field(default_factory=list)


class ChainletSettings(Resource):
    """Settings of a chainlet in an environment."""

    chainlet_name: str
    autoscaling_settings: AutoscalingSettings | None = None
    instance_type: InstanceType | None = None


class ChainEnvironment(Resource):
    """Environment of a chain."""

    name: str
    chain_id: str | None = None
    created_at: Time | None = None
    current_deployment: ChainDeployment | None = None
    candidate_deployment: ChainDeployment | None = None
    in_progress_promotion: Promotion | None = None
    promotion_settings: dict[str, Any] | None = None
    chainlet_settings: list[ChainletSettings] = Field(default_factory=list)


def list_chains() -> Call[list[Chain]]:
    """Return all chains that the key may see."""
    return get("/v1/chains", "listing the chains", reads(list[Chain], "chains"))


def get_chain(chain_id: str) -> Call[Chain]:
    """Return a chain.

    :raises BasetenNotFoundError: no chain has this id.
    """
    return get(chain_path(chain_id), f"reading chain {chain_id}", reads(Chain))


def delete_chain(chain_id: str) -> Call[Deleted]:
    """Delete a chain with all its deployments."""
    return change("DELETE", chain_path(chain_id), f"deleting chain {chain_id}", reads(Deleted))


def list_chain_deployments(chain_id: str) -> Call[list[ChainDeployment]]:
    """Return the deployments of a chain.

    :raises BasetenNotFoundError: no chain has this id.
    """
    path = f"{chain_path(chain_id)}/deployments"
    return get(path, f"listing the deployments of chain {chain_id}", reads(list[ChainDeployment], "deployments"))


def get_chain_deployment(chain_id: str, deployment_id: str) -> Call[ChainDeployment]:
    """Return a deployment of a chain, with its chainlets.

    :raises BasetenNotFoundError: the chain does not exist, or has no such deployment.
    """
    path = f"{chain_path(chain_id)}/deployments/{segment('deployment_id', deployment_id)}"
    return get(path, f"reading deployment {deployment_id} of chain {chain_id}", reads(ChainDeployment))


def delete_chain_deployment(chain_id: str, deployment_id: str) -> Call[Deleted]:
    """Delete a deployment of a chain."""
    path = f"{chain_path(chain_id)}/deployments/{segment('deployment_id', deployment_id)}"
    return change("DELETE", path, f"deleting deployment {deployment_id} of chain {chain_id}", reads(Deleted))


def list_chain_environments(chain_id: str) -> Call[list[ChainEnvironment]]:
    """Return the environments of a chain."""
    path = f"{chain_path(chain_id)}/environments"
    return get(path, f"listing the environments of chain {chain_id}", reads(list[ChainEnvironment], "environments"))


def get_chain_environment(chain_id: str, environment: str) -> Call[ChainEnvironment]:
    """Return an environment of a chain, with its deployment and the promotion in progress."""
    subject = f"reading environment {environment} of chain {chain_id}"
    return get(_environment(chain_id, environment), subject, reads(ChainEnvironment))


def promote_chain(
    chain_id: str, deployment_id: str, environment: str = "production", *, scale_down_previous_deployment: bool = True
) -> Call[ChainDeployment]:
    """Promote a deployment of a chain to an environment.

    :param environment: name of the environment, by default ``production``.
    :param scale_down_previous_deployment: scale the previous deployment down; by default true.
    """
    check_flags(scale_down_previous_deployment=scale_down_previous_deployment)
    body = {
        "deployment_id": segment("deployment_id", deployment_id),
        "scale_down_previous_deployment": scale_down_previous_deployment,
    }
    subject = f"promoting deployment {deployment_id} of chain {chain_id} to {environment}"
    path = f"{_environment(chain_id, environment)}/promote"
    return change("POST", path, subject, reads(ChainDeployment), body, idempotent=False)


def update_chainlet_autoscaling(
    chain_id: str, environment: str, updates: Mapping[str, AutoscalingUpdate]
) -> Call[Acceptance]:
    """Change the autoscaling settings of chainlets in an environment. Baseten applies them later.

    :param updates: name of a chainlet -> the settings to change.
    """
    if not isinstance(updates, Mapping) or not updates:
        raise BasetenInputError("updates takes an object with the settings of at least one chainlet, by its name.")
    body = {
        "updates": [
            {"chainlet_name": name, "autoscaling_settings": check_autoscaling(settings, f"updates[{name!r}]")}
            for name, settings in updates.items()
        ]
    }
    path = f"{_environment(chain_id, environment)}/chainlet_settings/autoscaling_settings"
    subject = f"changing the autoscaling of chain {chain_id} (environment {environment})"
    return change("PATCH", path, subject, reads(Acceptance), body)


def _environment(chain_id: str, environment: str) -> str:
    return f"{chain_path(chain_id)}/environments/{segment('environment', environment)}"
