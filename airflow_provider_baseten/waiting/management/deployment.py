"""Watch of a deployment: waits for a status."""

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.management.chains import (
    ChainDeployment,
    ChainEnvironment,
    get_chain_deployment,
    get_chain_environment,
)
from airflow_provider_baseten.api.management.deployments import Deployment, get_deployment
from airflow_provider_baseten.api.management.environments import Environment, get_environment
from airflow_provider_baseten.api.management.statuses import CALLABLE_STATUSES, FAILED_STATUSES
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.management import Management
from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenError
from airflow_provider_baseten.waiting.management.watch import State, Watch, restore_target

# Seconds for which the API may still report the status that was there before the wait, so that it does not count as
# failed.
_GRACE = 30.0

_ADVICE = {
    "BUILD_FAILED": "read its build log, and deploy again",
    "BUILD_STOPPED": "its build was stopped: deploy again",
    "DEPLOY_FAILED": "read its log, correct what fails, and retry or deploy again",
    "FAILED": "read its log, and activate it again or deploy again",
    "INACTIVE": "it was deactivated; activate it again",
    "UNHEALTHY": "read its log; it can recover by itself",
}
# The deployment can leave these statuses without a new version of the model.
_RETRYABLE = frozenset({"INACTIVE", "UNHEALTHY"})
# A deployment that is activated, or woken, ends without success if somebody deactivates it meanwhile.
ACTIVATION_FAILED_STATUSES = (*FAILED_STATUSES, "INACTIVE")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentWatch(Watch):
    """Waits until a deployment has one of the statuses that are wanted.

    :param target: environment or deployment, as keyword arguments of ``Target``.
    :param statuses: statuses that are wanted.
    :param failed_statuses: statuses that end the wait with an error.
    :param status_before: status before the wait. If it is a failed one, it does not count for 30 seconds.
    """

    kind = "deployment"

    target: dict[str, Any]
    statuses: list[str] = field(default_factory=lambda: [*CALLABLE_STATUSES])
    failed_statuses: list[str] = field(default_factory=lambda: [*FAILED_STATUSES])
    status_before: str | None = None

    @property
    def name(self) -> str:
        """Name of the deployment."""
        return str(restore_target(self.target))

    def call(self) -> Call[Any]:
        """Return the call that reads the deployment, or the environment with its deployment."""
        return read_call(restore_target(self.target))

    def judge(self, found: Any, now: float) -> State:
        """Return the state of the deployment."""
        deployment = deployment_of(found)
        if deployment is None:
            return State(text="the environment has no deployment")
        status = deployment.status
        if status in self.statuses:
            return State(text=status, is_done=True, result=result_of(deployment))
        former = {self.status_before, "INACTIVE"} if self.status_before == "DEACTIVATING" else {self.status_before}
        is_old = status in former and now < self.began + _GRACE
        if status in self.failed_statuses and not is_old:
            return State(text=status, error=failure_of(self.name, deployment))
        return State(text=status)

    def missing(self, error: BasetenError) -> BasetenError:
        """Return the error for a deployment that does not exist, or not any more."""
        return missing_error(self.name, error)


def read_call(target: Target) -> Call[Any]:
    """Return the call that reads a deployment, or an environment with its deployment."""
    if target.model_id is not None:
        if target.deployment_id is None and target.environment != "development":
            return get_environment(target.model_id, str(target.environment))
        return get_deployment(target.model_id, target.deployment_id or "development")
    chain_id = str(target.chain_id)
    if target.deployment_id is not None:
        return get_chain_deployment(chain_id, target.deployment_id)
    return get_chain_environment(chain_id, str(target.environment))


def deployment_of(found: Any) -> Deployment | ChainDeployment | None:
    """Return the deployment in a result of :func:`read_call`; ``None`` for an environment without one."""
    if isinstance(found, Environment | ChainEnvironment):
        return found.current_deployment
    deployment: Deployment | ChainDeployment = found
    return deployment


def status_of(management: Management, target: Target) -> str | None:
    """Return the status of a deployment; ``None`` for an environment without one."""
    deployment = deployment_of(management.call(read_call(target)))
    return None if deployment is None else deployment.status


def result_of(deployment: Deployment | ChainDeployment) -> dict[str, Any]:
    """Return what a task returns of a deployment."""
    replicas = {"active_replica_count": deployment.active_replica_count} if isinstance(deployment, Deployment) else {}
    return {"deployment_id": deployment.id, "status": deployment.status, **replicas}


def failure_of(name: str, deployment: Deployment | ChainDeployment) -> BasetenDeploymentError:
    """Return the error for a deployment with a failed status.

    :param name: name of the deployment or of its environment.
    """
    status = deployment.status
    advice = _ADVICE.get(status, "read its log")
    own = "" if deployment.id in name else f" (deployment {deployment.id})"
    return BasetenDeploymentError(
        f"{name}{own} is {status}: {advice}.", error_code=status, retryable=status in _RETRYABLE
    )


def missing_error(name: str, error: BasetenError) -> BasetenDeploymentError:
    """Return the error for a deployment that does not exist, or not any more.

    :param name: name of the deployment or of its environment.
    :param error: error of the call that read it.
    """
    return BasetenDeploymentError(
        f"{name} does not exist, or was deleted while the task waited for it. {error}", status=404, retryable=False
    )
