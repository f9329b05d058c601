"""Sensor for async requests that another task or program has sent."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_baseten.activity.task_summary import MAX_REQUEST_IDS, TaskSummary
from airflow_provider_baseten.api.target import Target, check_request_id, require_one_target
from airflow_provider_baseten.arguments import (
    check_flags,
    check_paths,
    check_texts,
    given,
    seconds,
    shown,
)
from airflow_provider_baseten.compat import AirflowSensorTimeout, AirflowSkipException
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.operators.airflow_options import SensorOptions, resolve_deferrable
from airflow_provider_baseten.operators.base import BasetenOperator
from airflow_provider_baseten.operators.wait_report import WaitReport
from airflow_provider_baseten.storage.outputs import stored_uris
from airflow_provider_baseten.waiting.deferral import is_of_former_trigger, raise_error_of

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_baseten.compat import RetryPolicy
    from airflow_provider_baseten.waiting.progress import WaitProgress
    from airflow_provider_baseten.waiting.results import AsyncResults
    from airflow_provider_baseten.waiting.waiter import Waiter


class BasetenAsyncRequestSensor(BasetenOperator, BaseSensorOperator):
    """Wait for one or many async requests, and return their outputs by request id.

    Each poke reads the result store once. Then it makes status calls for ten seconds at most, even if there are many
    requests. ``[baseten] status_calls_per_second`` is the rate of these calls. A request counts as lost if one of two
    things is true for a minute: Baseten does not know its id, or Baseten reports that it has ended but its result is
    missing.

    :param request_ids: one id, or a list of ids; at least one. (templated)
    :param model_id: id of the model that was called; exactly one of ``model_id`` and ``chain_id``. (templated)
    :param chain_id: id of the chain that was called. (templated)
    :param expects_delivery: whether the outputs come by webhook into the result store; not used with ``result_path``.
        By default, the webhook status that Baseten reports for a request decides whether the sensor expects its output
        by webhook. Until Baseten has reported a webhook status, the sensor expects a webhook if the connection names
        one. For a request with neither a webhook nor a ``result_path``, the sensor returns
        ``{"request_id", "status"}`` in place of an output.
    :param result_path: URI where the model stores its outputs; ``{request_id}`` in it stands for the id. (templated)
    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``. (templated)
    :param deferrable: wait in the triggerer, by default ``[operators] default_deferrable``.
    :param retry_policy: policy that decides whether a failure is retried, by default
        :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy`.

    ``mode="reschedule"``, ``poke_interval``, ``timeout`` and ``soft_fail`` are Airflow's own.

    :raises BasetenInputError: an argument or a request id is not valid.
    :raises BasetenAsyncRequestError: one of the requests failed, expired or was cancelled.
    :raises BasetenResultLostError: one of the requests may have succeeded, but its output was not found.
    :raises AirflowSensorTimeout: there was no result in time.

    The sensor sends no requests to models and costs nothing. A retry looks for the results again.
    https://docs.baseten.co/inference/async
    """

    template_fields = (*BasetenOperator.template_fields, "request_ids", "model_id", "chain_id", "result_path")
    path_fields = ("result_path",)

    def __init__(
        self,
        *,
        task_id: str,
        request_ids: "str | Sequence[str] | XComArg",
        model_id: str | None = None,
        chain_id: str | None = None,
        expects_delivery: bool | None = None,
        result_path: str | None = None,
        baseten_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        retry_policy: "RetryPolicy | None" = None,
        **kwargs: Unpack[SensorOptions],
    ) -> None:
        if "timeout" in kwargs:
            kwargs["timeout"] = seconds("timeout", kwargs["timeout"])
        if "poke_interval" in kwargs:
            kwargs["poke_interval"] = seconds("poke_interval", kwargs["poke_interval"])
        super().__init__(  # type: ignore[misc]  # Arguments of sensors are passed on to Airflow's class.
            task_id=task_id, baseten_conn_id=baseten_conn_id, retry_policy=retry_policy, **kwargs
        )
        check_texts(**given(model_id=model_id, chain_id=chain_id))
        check_paths(**given(result_path=result_path))
        require_one_target(model_id, chain_id, None, None)
        if expects_delivery is not None:
            check_flags(expects_delivery=expects_delivery)
        if _is_rendered(request_ids):
            _checked_ids(request_ids)
        self.request_ids = request_ids
        self.model_id = model_id
        self.chain_id = chain_id
        self.expects_delivery = False if result_path else expects_delivery
        self.result_path = result_path
        self.deferrable = resolve_deferrable(deferrable)
        self._progress: WaitProgress | None = None

    def run_task(self, context: "Context") -> Any:
        """Wait for all requests, and return their outputs by request id. With ``deferrable``, defer the task instead.

        :raises BasetenInputError: no id is given, or an id is not valid. The ids are checked before the wait begins.
        """
        self._ids  # noqa: B018 - the property checks the ids.
        self.normalize_paths()
        if self.deferrable:
            began = time.time()
            WaitReport(self, context, self._ids, sent_at=began, deadline=began + self.timeout)({})
            with self._open_results() as results:
                self._defer(results, began + self.timeout, began)
        return super().run_task(context)

    def _defer(self, results: "AsyncResults", deadline: float, began: float | None = None) -> NoReturn:
        from airflow_provider_baseten.operators.async_wait import defer_wait

        defer_wait(
            self,
            results,
            self._ids,
            deadline,
            poll_interval=self.poke_interval,
            cancel_on_kill=False,
            began=began,
            arguments={},
        )

    def execute_complete(self, context: "Context", event: Mapping[str, Any], deadline: float | None = None) -> Any:
        """Return the outputs. If a request has no result, fail the task; with ``soft_fail``, skip it.

        If the event belongs to a trigger of an earlier attempt, defer the task again.

        :param event: event of the trigger: ``{"outcomes": {request_id: outcome}, "seconds"}``.
        :param deadline: end of the wait in seconds since the epoch; ``None`` in ``dag.test()``, which does not pass it.
        """
        self.normalize_paths()
        if deadline is not None and is_of_former_trigger({*self._ids}, event["outcomes"].keys(), self.log):
            with self._open_results() as results:
                self._defer(results, deadline)
        self._raise_error_of(event)
        with self._open_results() as results:
            outcomes = results.check_again(event["outcomes"])
            report = WaitReport.after_deferral(self, context, event)
            report(results.log_outcomes(outcomes, event.get("seconds"), result_path=self.result_path))
            if error := results.first_error(outcomes, timeout=self.timeout):
                self._fail(error)
            late = results.late(outcomes)
            if late:
                raise AirflowSensorTimeout(
                    f"{len(late)} of {len(outcomes)} async requests had no result after {self.timeout:g} s, the first "
                    f"of them {late[0]}. Look at the queue and the replicas of the deployment, or raise timeout."
                )
            return self._outputs(context, outcomes, results)

    def poke(self, context: "Context") -> PokeReturnValue:
        """Check all requests once.

        Each poke passes the progress of the wait to the next poke of the attempt: for example, since when a request
        has looked lost.
        """
        from airflow_provider_baseten.sensors.progress_record import ProgressRecord

        try:
            results = self._open_results()
        except BasetenError as error:
            if self._progress is None and not context.get("task_reschedule_count"):
                raise
            # An earlier poke of this task has read the connection successfully, so this failure may be temporary.
            self.log.warning("Still waiting: the connection can't be read now. %s", error)
            return PokeReturnValue(False)
        with results:
            record = ProgressRecord(context, results.store, self.log)
            before = self._progress or record.load()
            waiter = results.new_waiter(self._ids, math.inf, self.poke_interval, before)
            report = WaitReport(self, context, self._ids, sent_at=waiter.log.began)
            waiter.on_change = lambda: report(waiter.log.statuses, waiter.log.running_at)
            results.poll(waiter)
            progress = waiter.progress
            if self.mode == "poke":
                self._progress = progress
            elif progress != before:
                record.save(progress)
            return self._end_of_poke(context, waiter, results)

    def _end_of_poke(self, context: "Context", waiter: "Waiter", results: "AsyncResults") -> PokeReturnValue:
        """Return the outputs if all requests have a result, otherwise a value that lets Airflow poke again.

        If a request has ended without a result, or is lost, fail the task; with ``soft_fail``, skip it.
        """
        outcomes = results.check_again(waiter.outcomes)
        is_done = not waiter.open
        error = results.first_error(outcomes, timeout=self.timeout)
        if is_done or error is not None:
            seconds = time.time() - waiter.log.began
            results.log_outcomes(outcomes, seconds, result_path=self.result_path, waiter=waiter)
        if error is not None:
            self._fail(error)
        return PokeReturnValue(is_done, self._outputs(context, waiter.request_ids, results) if is_done else None)

    def timeout_note(self) -> str:
        """Return a note for the timeout error. It says that the requests continue without the sensor."""
        return "Nothing was sent. The async requests continue at Baseten, and the next attempt waits for them again."

    def _outputs(self, context: "Context", request_ids: Iterable[str], results: "AsyncResults") -> dict[str, Any]:
        """Return the outputs by request id, and report what the sensor has done."""
        try:
            found = {name: results.output(name, result_path=self.result_path) for name in request_ids}
        except BasetenError as error:
            self._fail(error)
        self.finish(
            context,
            TaskSummary(
                target=self.called_target,
                request_ids=tuple(found)[:MAX_REQUEST_IDS],
                outputs=tuple(uri for output in found.values() for uri in stored_uris(output))[:MAX_REQUEST_IDS],
            ),
        )
        return found

    def _raise_error_of(self, event: Mapping[str, Any]) -> None:
        try:
            raise_error_of(event)
        except BasetenError as error:
            self._fail(error)

    def _fail(self, error: BasetenError) -> NoReturn:
        if self.soft_fail:
            raise AirflowSkipException(f"Skipping because of soft_fail: {error}") from None
        raise error

    @property
    def called_target(self) -> Target:
        """The model or chain that the requests were sent to.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(model_id=self.model_id, chain_id=self.chain_id)

    @property
    def _ids(self) -> list[str]:
        return _checked_ids(self.request_ids)

    def _open_results(self) -> "AsyncResults":
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.operators.async_wait import open_results

        hook = BasetenHook(self.baseten_conn_id)
        is_assumed = self.expects_delivery is None
        return open_results(
            self,
            hook,
            self.called_target,
            expects_delivery=bool(hook.connection.webhook_endpoint if is_assumed else self.expects_delivery),
            is_assumed=is_assumed,
        )


def _checked_ids(request_ids: Any) -> list[str]:
    """Return the ids without repetitions.

    :raises BasetenInputError: there is no id, or a value can't be an id. Without this check, the wait for such a value
        would end only at the timeout.
    """
    is_list = isinstance(request_ids, Sequence | Set) and not isinstance(request_ids, bytes)
    ids = [request_ids] if isinstance(request_ids, str) else list(request_ids) if is_list else []
    if not ids:
        raise BasetenInputError(f"request_ids={shown(request_ids)} is neither an id nor a list of at least one.")
    for request_id in ids:
        check_request_id(request_id, name="request_ids")
    return list(dict.fromkeys(ids))


def _is_rendered(value: Any) -> bool:
    """Return whether a value is known before the task runs: it is neither a template nor a task's output."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_rendered(item) for item in value)
    return value is None or isinstance(value, int | float | bytes | Mapping)
