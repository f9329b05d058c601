"""Environments of a model or chain: a name, its settings, and the deployment that handles its requests."""

from dataclasses import dataclass

from airflow_provider_baseten.emulator.replicas import Scaling


@dataclass(slots=True, eq=False)
class Environment:
    """Environment of a model or chain.

    :param name: name of the environment.
    :param created_at: time of creation in seconds since the epoch.
    :param settings: autoscaling settings, which a deployment gets that is promoted to the environment.
    :param deployment_id: id of the current deployment, ``None`` before the first promotion.
    """

    name: str
    created_at: float
    settings: Scaling
    deployment_id: str | None = None

    def select_deployment(self) -> str | None:
        """Return the id of the deployment that handles the next request; ``None`` if there is none."""
        return self.deployment_id
