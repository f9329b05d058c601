"""Operator that wakes a deployment that has scaled to zero."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.operators.management.deployment import BasetenDeploymentOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.waiting.management.watch import Watch


class BasetenWakeOperator(BasetenDeploymentOperator):
    """Wake a deployment that has scaled to zero, and wait until a replica is ready.

    If no request comes within the ``scale_down_delay`` of the deployment, its replicas stop again. A deployment that is
    inactive can't be woken: use :class:`~.activation.BasetenActivateDeploymentOperator`.

    Every API key may wake a deployment. The wait reads the deployment, which needs a key that may use the management
    API: the password of the connection, or its ``management_api_key``. ``wait_for_completion=False`` needs none.

    A retry wakes the deployment again, which changes nothing if it is awake.

    :returns: ``{"deployment_id", "status", "active_replica_count"}``; without ``wait_for_completion`` an empty object.
    :raises BasetenInputError: the deployment is inactive, or an argument is not valid.
    :raises BasetenDeploymentError: the deployment failed, or was deactivated or deleted while the task waited for it.
    :raises BasetenTimeoutError: no replica was ready in time.

    https://docs.baseten.co/deployment/autoscaling/overview
    """

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch", dict[str, Any]]:
        """Wake the deployment, and return what to wait for."""
        from airflow_provider_baseten.waiting.management.deployment import ACTIVATION_FAILED_STATUSES, DeploymentWatch

        target = self.called_target
        client.wake(target)
        self.log.info("Woke %s.", target)
        failed = [*ACTIVATION_FAILED_STATUSES]
        return DeploymentWatch(began=began, target=asdict(target), statuses=["ACTIVE"], failed_statuses=failed), {}
