"""Operators that activate and deactivate deployments."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenInputError
from airflow_provider_baseten.operators.management.deployment import BasetenDeploymentOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.management.deployments import Activation, Deactivation
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.waiting.management.watch import Watch


class BasetenActivateDeploymentOperator(BasetenDeploymentOperator):
    """Activate a deployment of a model, and wait until it takes requests.

    A deployment that is active already, or on its way, is left as it is: ``no_op`` in the result is true. So a retry
    changes nothing. Baseten allows 20 activations a minute; the task waits as long as Baseten asks.

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :returns: ``{"deployment_id", "status", "active_replica_count", "no_op"}``; without ``wait_for_completion`` only
        ``no_op``.
    :raises BasetenInputError: the target is a chain, which Baseten can't activate, or an argument is not valid.
    :raises BasetenDeploymentError: the deployment failed, or was deactivated or deleted while the task waited for it.
    :raises BasetenTimeoutError: it did not take requests in time.

    https://docs.baseten.co/reference/management-api/overview
    """

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch", dict[str, Any]]:
        """Activate the deployment, and return what to wait for."""
        from airflow_provider_baseten.api.management.statuses import FAILED_STATUSES
        from airflow_provider_baseten.waiting.management.deployment import (
            ACTIVATION_FAILED_STATUSES,
            DeploymentWatch,
            status_of,
        )

        target = self.called_target
        before = status_of(client.management, target)
        try:
            activation = client.management.activate(target)
        except BasetenInputError as error:
            if before not in FAILED_STATUSES:
                raise
            raise BasetenDeploymentError(
                f"{target} is {before} and was not activated. {error}", error_code=before
            ) from None
        _check_success(activation, target, "activated")
        self.log.info("%s was %s.", target, "active already" if activation.no_op else f"activated; it was {before}")
        failed = [*ACTIVATION_FAILED_STATUSES]
        watch = DeploymentWatch(began=began, target=asdict(target), failed_statuses=failed, status_before=before)
        return watch, {"no_op": activation.no_op}


class BasetenDeactivateDeploymentOperator(BasetenDeploymentOperator):
    """Deactivate a deployment, and wait until its replicas have stopped. From then on it costs nothing.

    Requests to an inactive deployment fail until it is activated again. A deployment that is inactive already, or on
    its way, is left as it is: ``no_op`` in the result is true. So a retry changes nothing. As a teardown task it also
    runs after a failure::

        deactivate = BasetenDeactivateDeploymentOperator(task_id="deactivate", model_id="abcd1234")
        activate >> score >> deactivate.as_teardown(setups=activate)

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :returns: ``{"deployment_id", "status", "active_replica_count", "no_op"}``; without ``wait_for_completion`` only
        ``no_op``.
    :raises BasetenInputError: the target is an environment of a chain, or an argument is not valid.
    :raises BasetenDeploymentError: the deployment was deleted while the task waited for it.
    :raises BasetenTimeoutError: it was not inactive in time.

    https://docs.baseten.co/reference/management-api/overview
    """

    def start(self, client: "Client", context: "Context", began: float) -> tuple["Watch", dict[str, Any]]:
        """Deactivate the deployment, and return what to wait for."""
        from airflow_provider_baseten.waiting.management.deployment import DeploymentWatch

        target = self.called_target
        deactivation = client.management.deactivate(target)
        _check_success(deactivation, target, "deactivated")
        self.log.info("%s was %s.", target, "inactive already" if deactivation.no_op else "deactivated")
        # A deployment that has failed is deactivated too, and may report its former status for a while.
        watch = DeploymentWatch(began=began, target=asdict(target), statuses=["INACTIVE"], failed_statuses=[])
        return watch, {"no_op": deactivation.no_op}


def _check_success(outcome: "Activation | Deactivation", target: "Target", action: str) -> None:
    """Raise BasetenDeploymentError if Baseten has not done what it was asked for.

    :param action: ends the sentence "The deployment was not ...".
    """
    if not outcome.success:
        raise BasetenDeploymentError(
            f"{target} was not {action}: Baseten reports no success, and no reason. Look at its status and at the "
            "audit log of the model.",
            retryable=True,
        )
