"""Sensor for the status of a deployment."""

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, cast

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.api.error_record import error_from
from airflow_provider_baseten.api.management.statuses import CALLABLE_STATUSES, FAILED_STATUSES, KNOWN_STATUSES
from airflow_provider_baseten.api.target import Target, require_one_target
from airflow_provider_baseten.arguments import check_texts, given, seconds, shown
from airflow_provider_baseten.compat import AirflowSensorTimeout, AirflowSkipException
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenNotFoundError
from airflow_provider_baseten.operators.airflow_options import SensorOptions, resolve_deferrable
from airflow_provider_baseten.operators.base import BasetenOperator
from airflow_provider_baseten.waiting.deferral import is_of_former_trigger, timeout_after

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.compat import RetryPolicy
    from airflow_provider_baseten.waiting.management.deployment import DeploymentWatch
    from airflow_provider_baseten.waiting.management.watch import State


class BasetenDeploymentSensor(BasetenOperator, BaseSensorOperator):
    """Wait until a deployment has one of the statuses that are wanted.

    By default it waits until the deployment takes requests: ``ACTIVE``, or ``SCALED_TO_ZERO``, from which a request or
    a wake starts a replica. A failed status ends the wait with an error at once. ``INACTIVE`` does not, because another
    task may activate the deployment.

    The API key needs access to the management API: the password of the connection, or its ``management_api_key``.

    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given. (templated)
    :param chain_id: id of the chain. (templated)
    :param environment: environment whose deployment is meant, by default ``production``; ``development`` is the
        development deployment. (templated)
    :param deployment_id: id of the deployment, instead of an environment. (templated)
    :param target_statuses: statuses that end the wait, by default ``ACTIVE`` and ``SCALED_TO_ZERO``.
    :param failed_statuses: statuses that end the wait with an error, by default ``BUILD_FAILED``, ``BUILD_STOPPED``,
        ``DEPLOY_FAILED``, ``FAILED`` and ``UNHEALTHY``, except those in ``target_statuses``.
    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``. (templated)
    :param deferrable: wait in the triggerer, by default ``[operators] default_deferrable``.
    :param retry_policy: policy that decides whether a failure is retried, by default
        :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy`.

    ``mode="reschedule"``, ``poke_interval``, ``timeout`` and ``soft_fail`` are Airflow's own.

    :returns: ``{"deployment_id", "status", "active_replica_count"}``.
    :raises BasetenInputError: an argument is not valid.
    :raises BasetenDeploymentError: the deployment has a failed status, does not exist or was deleted.
    :raises AirflowSensorTimeout: the deployment had none of the statuses in time.

    The sensor only reads and costs nothing. A retry looks again.
    https://docs.baseten.co/reference/management-api/overview
    """

    template_fields = (*BasetenOperator.template_fields, "model_id", "chain_id", "environment", "deployment_id")

    def __init__(
        self,
        *,
        task_id: str,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        target_statuses: Collection[str] = CALLABLE_STATUSES,
        failed_statuses: Collection[str] = FAILED_STATUSES,
        baseten_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        retry_policy: "RetryPolicy | None" = None,
        **kwargs: Unpack[SensorOptions],
    ) -> None:
        for name in ("timeout", "poke_interval"):
            if name in kwargs:
                options = cast("dict[str, Any]", kwargs)
                options[name] = seconds(name, options[name])
        super().__init__(  # type: ignore[misc]  # Arguments of sensors are passed on to Airflow's class.
            task_id=task_id, baseten_conn_id=baseten_conn_id, retry_policy=retry_policy, **kwargs
        )
        check_texts(**given(model_id=model_id, chain_id=chain_id, environment=environment, deployment_id=deployment_id))
        require_one_target(model_id, chain_id, environment, deployment_id)
        self.model_id = model_id
        self.chain_id = chain_id
        self.environment = environment
        self.deployment_id = deployment_id
        self.target_statuses = _checked("target_statuses", target_statuses)
        if not self.target_statuses:
            raise BasetenInputError("target_statuses is empty: give at least one status, for example 'ACTIVE'.")
        failed = _checked("failed_statuses", failed_statuses)
        self.failed_statuses = [status for status in failed if status not in self.target_statuses]
        self.deferrable = resolve_deferrable(deferrable)
        self._last_text: str | None = None

    @property
    def called_target(self) -> Target:
        """The deployment, or the environment with its deployment.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(
            model_id=self.model_id,
            chain_id=self.chain_id,
            environment=self.environment,
            deployment_id=self.deployment_id,
        )

    def run_task(self, context: "Context") -> Any:
        """Wait, and return the state of the deployment. With ``deferrable``, defer the task instead."""
        watch = self._watch(time.time())
        for status in sorted({*self.target_statuses, *self.failed_statuses} - {*KNOWN_STATUSES}):
            self.log.warning("Baseten documents no status %s: statuses are %s.", status, ", ".join(KNOWN_STATUSES))
        if self.deferrable:
            self._defer(watch, watch.began + self.timeout)
        return super().run_task(context)

    def poke(self, context: "Context") -> PokeReturnValue:
        """Read the deployment once."""
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        watch = self._watch(time.time())
        try:
            with BasetenHook(self.baseten_conn_id).client() as client:
                state = watch.judge(client.management.call(watch.call()), watch.began)
        except BasetenNotFoundError as error:
            self._fail(watch.missing(error))
        except BasetenError as error:
            is_first = self._last_text is None and not context.get("task_reschedule_count")
            if is_first and error.is_permanent and not error.retryable:
                self._fail(error)
            self.log.warning("Still waiting for %s: %s", watch.name, error)
            return PokeReturnValue(False)
        if state.text != self._last_text:
            self.log.info("%s: %s.", watch.name, state.text)
            self._last_text = state.text
        if state.error is not None:
            self._fail(state.error)
        return PokeReturnValue(state.is_done, self._end(context, state) if state.is_done else None)

    def execute_complete(
        self, context: "Context", event: Mapping[str, Any], watch: Mapping[str, Any] | None = None, deadline: float = 0
    ) -> Any:
        """Return the state of the deployment after the trigger has ended.

        :param event: event of the trigger, see :class:`~.BasetenManagementTrigger`.
        :param watch: what the task waits for; ``None`` in ``dag.test()``, which does not pass it.
        :param deadline: end of the wait in seconds since the epoch.
        """
        from airflow_provider_baseten.waiting.management.watch import State

        own = self._watch(time.time())
        if watch is not None and is_of_former_trigger(own.name, event["name"], self.log):
            self._defer(own, deadline)
        if event.get("error") is not None:
            self._fail(error_from(event["error"]))
        if not event["is_done"]:
            raise AirflowSensorTimeout(
                f"{own.name} was not {' or '.join(self.target_statuses)} after {self.timeout:g} s; its last status is "
                f"{event['text']}. Read its log, or raise timeout."
            )
        return self._end(context, State(text=event["text"], is_done=True, result=event["result"]))

    def timeout_note(self) -> str:
        """Return a note for the timeout error."""
        return "The sensor only reads; nothing was changed."

    def _watch(self, began: float) -> "DeploymentWatch":
        from airflow_provider_baseten.waiting.management.deployment import DeploymentWatch

        return DeploymentWatch(
            began=began,
            target=asdict(self.called_target),
            statuses=self.target_statuses,
            failed_statuses=self.failed_statuses,
        )

    def _defer(self, watch: "DeploymentWatch", deadline: float) -> NoReturn:
        from airflow_provider_baseten.triggers.management import BasetenManagementTrigger

        fields = watch.as_fields()
        self.defer(
            trigger=BasetenManagementTrigger(
                baseten_conn_id=self.baseten_conn_id,
                watch=fields,
                facts={},
                deadline=deadline,
                poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            kwargs={"watch": fields, "deadline": deadline},
            timeout=timeout_after(deadline),
        )

    def _end(self, context: "Context", state: "State") -> dict[str, Any]:
        self.finish(context, TaskSummary(target=self.called_target))
        return dict(state.result)

    def _fail(self, error: BasetenError) -> NoReturn:
        if self.soft_fail:
            raise AirflowSkipException(f"Skipping because of soft_fail: {error}") from None
        raise error


def _checked(name: str, statuses: Any) -> list[str]:
    """Return statuses as a list.

    :raises BasetenInputError: the value is not a collection of texts.
    """
    is_collection = isinstance(statuses, Collection) and not isinstance(statuses, str | bytes | Mapping)
    if not is_collection or not all(isinstance(status, str) for status in statuses):
        raise BasetenInputError(f"{name}={shown(statuses)} is not a list of statuses, such as ['ACTIVE'].")
    return list(dict.fromkeys(statuses))
