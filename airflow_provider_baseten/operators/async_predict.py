"""Operator that queues a prediction, waits for it without holding a worker, and returns its output."""

import math
import time
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from airflow_provider_baseten.activity.records import QUEUED
from airflow_provider_baseten.api import async_predict
from airflow_provider_baseten.api.async_predict import InferenceRetryConfig, build_async_predict
from airflow_provider_baseten.arguments import (
    check_choice,
    check_flags,
    check_is_there,
    check_paths,
    check_seconds,
    check_texts,
    given,
)
from airflow_provider_baseten.compat import AirflowTaskTimeout
from airflow_provider_baseten.exceptions import BasetenAsyncRequestError, BasetenError
from airflow_provider_baseten.idempotency.orphans import ON_ORPHANED_REQUEST, OnOrphanedRequest
from airflow_provider_baseten.operators.airflow_options import DecoratorOptions, resolve_deferrable
from airflow_provider_baseten.operators.base import BasetenCallOperator, OutputArguments, OutputOptions
from airflow_provider_baseten.operators.wait_report import WaitReport
from airflow_provider_baseten.waiting.deferral import is_of_former_trigger, raise_error_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.hooks.baseten import BasetenHook
    from airflow_provider_baseten.operators.submission import Submission
    from airflow_provider_baseten.waiting.results import AsyncResults


class AsyncPredictTaskOptions(OutputOptions, DecoratorOptions, total=False):
    """Arguments of :class:`BasetenAsyncPredictOperator` besides its input, for its decorator."""

    webhook_endpoint: str | None
    result_path: str | None
    priority: int | None
    max_time_in_queue_seconds: int | None
    inference_retry_config: InferenceRetryConfig | None
    deferrable: bool | None
    wait_for_completion: bool
    poll_interval: float
    timeout: float | None
    cancel_on_kill: bool
    cancel_on_timeout: bool
    on_orphaned_request: OnOrphanedRequest


class BasetenAsyncPredictOperator(BasetenCallOperator):
    """Queue a prediction, wait for its result and return it.

    The output comes by webhook: Baseten delivers it to ``webhook_endpoint``. The receiver of this package writes the
    output to the result store, and the task reads it there. If the model stores its output itself, the task reads it at
    ``result_path``. If there is neither a webhook nor a ``result_path``, the task returns ``{"request_id", "status"}``,
    because Baseten keeps no outputs.

    The id of the request is recorded for the task instance before the task waits. So a retry, also after the death of a
    worker, normally sends nothing and waits for the same request. The request is sent again if the task is cleared, if
    the input or an option has changed, or if the request has ended without success. If a worker dies while it sends the
    request, it is unknown whether Baseten has it: ``on_orphaned_request`` decides what the next attempt does. By
    default a queued request is cancelled when the task is killed, is cleared or times out. A running request can't be
    cancelled.

    The operator's other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``retry_policy`` and Airflow's own.

    :param model_input: any JSON value but null, at most 256 KiB. The input of a chain is an object with the
        arguments of ``run_remote``. (templated, not shown among the rendered templates)
    :param webhook_endpoint: URL that Baseten delivers to, by default that of the connection. (templated)
    :param result_path: URI where the model stores its output; ``{request_id}`` in it stands for the id. (templated)
    :param priority: 0 (first, Baseten's default) to 2.
    :param max_time_in_queue_seconds: seconds after which a request that has not started expires, 10 to 259200;
        Baseten's default is 600.
    :param inference_retry_config: how often Baseten runs the model again:
        :class:`~airflow_provider_baseten.api.async_predict.InferenceRetryConfig`.
    :param deferrable: wait in the triggerer instead of holding a worker slot. The default is Airflow's option
        ``[operators] default_deferrable``.
    :param wait_for_completion: wait for the result; if false, the task returns the request id at once. By default
        true.
    :param poll_interval: longest wait between two status calls, in seconds, by default 30. The first status calls come
        sooner.
    :param timeout: seconds to wait for the result, counted for each attempt of the task. By default it is the longest
        time that Baseten may take: the time in the queue, and an hour for each run of the model.
    :param cancel_on_kill: cancel the request if the task is killed; by default true.
    :param cancel_on_timeout: cancel the request if the task times out; by default true.
    :param on_orphaned_request: what happens if an earlier attempt died while it sent the request: ``resubmit``
        (default) sends the request again and logs a warning, ``fail`` raises ``BasetenOrphanedRequestError``.

    :raises BasetenAsyncRequestError: the request failed, expired or was cancelled.
    :raises BasetenResultLostError: the request may have succeeded, but its output was not found. A retry looks again.
    :raises BasetenTimeoutError: there was no result in time.
    :raises BasetenOrphanedRequestError: see ``on_orphaned_request``.

    https://docs.baseten.co/inference/async
    """

    template_fields = (*BasetenCallOperator.template_fields, "model_input", "webhook_endpoint", "result_path")
    hidden_fields = (*BasetenCallOperator.hidden_fields, "model_input")
    path_fields = (*BasetenCallOperator.path_fields, "result_path")
    native_fields = (*BasetenCallOperator.native_fields, "model_input")

    def __init__(
        self,
        *,
        model_input: Any,
        webhook_endpoint: str | None = None,
        result_path: str | None = None,
        priority: int | None = None,
        max_time_in_queue_seconds: int | None = None,
        inference_retry_config: InferenceRetryConfig | None = None,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float = 30.0,
        timeout: float | None = None,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        on_orphaned_request: OnOrphanedRequest = "resubmit",
        **kwargs: Unpack[OutputArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_is_there(model_input=model_input)
        check_choice("on_orphaned_request", on_orphaned_request, ON_ORPHANED_REQUEST)
        check_flags(
            wait_for_completion=wait_for_completion,
            cancel_on_kill=cancel_on_kill,
            cancel_on_timeout=cancel_on_timeout,
        )
        async_predict.check_options(priority, max_time_in_queue_seconds, inference_retry_config)
        if timeout is None:
            timeout = async_predict.longest_run(max_time_in_queue_seconds, inference_retry_config)
        check_seconds(poll_interval=poll_interval, timeout=timeout)
        check_texts(**given(webhook_endpoint=webhook_endpoint))
        check_paths(**given(result_path=result_path))
        self.model_input = model_input
        self.webhook_endpoint = webhook_endpoint
        self.result_path = result_path
        self.priority = priority
        self.max_time_in_queue_seconds = max_time_in_queue_seconds
        self.inference_retry_config = inference_retry_config
        self.deferrable = resolve_deferrable(deferrable)
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.wait_timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.on_orphaned_request = on_orphaned_request
        self._submission: Submission | None = None
        self._is_killed = False
        # Whether the execution_timeout has ended the wait for the request.
        self._is_past_execution_timeout = False
        # Sentence on what happens to the request after the execution_timeout has ended the wait.
        self._late_note: str | None = None

    def run_task(self, context: "Context") -> Any:
        """Send the request, or find the request that an earlier attempt sent; wait for it and return its output."""
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.operators.submission import Submission

        began = time.time()
        self.normalize_paths()
        hook = BasetenHook(self.baseten_conn_id)
        endpoint = self._resolve_webhook_endpoint(hook)
        request = self.build_request(endpoint)
        with self._open_results(hook, endpoint, request.body) as results:
            submission = self._remember(Submission(self, context, results))
            request_id = submission.ensure_sent(request, hook, self.on_orphaned_request)
            wait = WaitReport(self, context, [request_id], sent_at=began, deadline=began + self._longest_deferral)
            wait({QUEUED: 1})
            if self.do_xcom_push:
                context["ti"].xcom_push(key="request_id", value=request_id)
            if not self.wait_for_completion:
                self.finish(context, submission.summary())
                return request_id
            if self.deferrable:
                self._defer(results, request_id, began + self._longest_deferral, began)
            try:
                outcome = submission.wait(began, began + self.wait_timeout, self.poll_interval, wait)
            except AirflowTaskTimeout:
                self._cancel_late(submission)
                raise
            return self._finish(context, submission, outcome, time.time() - began, wait)

    def execute_complete(
        self, context: "Context", event: dict[str, Any], request_id: str | None = None, deadline: float = 0.0
    ) -> Any:
        """Return the result of the request that the trigger waited for.

        :param event: event of the trigger: ``{"outcomes": {request_id: outcome}, "seconds"}``.
        :param request_id: id of the request that the task waits for; ``None`` in ``dag.test()``, which does not pass
            it.
        :param deadline: end of the wait in seconds since the epoch.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.operators.submission import Submission

        self.normalize_paths()
        ((ended_id, outcome),) = event["outcomes"].items()
        hook = BasetenHook(self.baseten_conn_id)
        if request_id is not None and is_of_former_trigger(request_id, ended_id, self.log):
            with self._open_results(hook, self._resolve_webhook_endpoint(hook), None) as results:
                self._defer(results, request_id, deadline)
        raise_error_of(event)
        endpoint = self._resolve_webhook_endpoint(hook)
        with self._open_results(hook, endpoint, self._sent_body(endpoint)) as results:
            submission = self._remember(Submission(self, context, results, request_id=ended_id))
            wait = WaitReport.after_deferral(self, context, event)
            return self._finish(context, submission, outcome, event.get("seconds"), wait)

    def on_kill(self) -> None:
        """Cancel the request if it is still queued."""
        # Airflow calls this method after the execution_timeout too. Then cancel_on_timeout alone decides whether the
        # request is cancelled.
        if not self.cancel_on_kill or self._is_past_execution_timeout:
            return
        self._is_killed = True
        if self._submission is not None:
            self._submission.kill()

    def _remember(self, submission: "Submission") -> "Submission":
        """Keep the submission for :meth:`on_kill` and :meth:`timeout_note`, and return it."""
        self._submission = submission
        if self._is_killed:
            submission.kill()
        return submission

    def _cancel_late(self, submission: "Submission") -> None:
        """After the execution_timeout, cancel the request if it is still queued and ``cancel_on_timeout`` is true."""
        self._is_past_execution_timeout = True
        if self.cancel_on_timeout and submission.results.cancel(submission.request_id):
            state = "was cancelled before it began to run. The next attempt sends it again."
        else:
            state = "may still run and be billed. The next attempt waits for it again and sends nothing."
        self._late_note = f"Async request {submission.request_id} was sent and {state}"

    def timeout_note(self) -> str:
        """Return sentences on what happens to the request if the task ends now."""
        if self._late_note is not None:
            return self._late_note
        note = self._submission.interruption_note(self.on_orphaned_request) if self._submission else None
        return note or super().timeout_note()

    def build_request(self, webhook_endpoint: str | None) -> "Request":
        """Check the arguments and return the async request.

        :param webhook_endpoint: URL that Baseten delivers to, ``None`` for no delivery.
        :raises BasetenInputError: a rendered argument is not valid.
        """
        check_is_there(model_input=self.model_input)
        async_predict.check_endpoint_of_wait(webhook_endpoint if self.wait_for_completion else None)
        return build_async_predict(
            self.target,
            self.model_input,
            webhook_endpoint=webhook_endpoint,
            priority=self.priority,
            max_time_in_queue_seconds=self.max_time_in_queue_seconds,
            inference_retry_config=self.inference_retry_config,
            headers=self.headers,
        )

    def _resolve_webhook_endpoint(self, hook: "BasetenHook") -> str | None:
        """Return the URL that Baseten delivers to, ``None`` for no delivery.

        The URL of the task replaces the URL of the connection. If the model stores its output, the URL of the
        connection is not used.
        """
        if self.webhook_endpoint is None and not self.result_path:
            return hook.connection.webhook_endpoint
        return self.webhook_endpoint

    def _open_results(self, hook: "BasetenHook", endpoint: str | None, sent_body: bytes | None) -> "AsyncResults":
        from airflow_provider_baseten.operators.async_wait import open_results

        expects_delivery = endpoint is not None and not self.result_path
        return open_results(self, hook, self.target, expects_delivery=expects_delivery, sent_body=sent_body)

    @property
    def _longest_deferral(self) -> float:
        """Maximum number of seconds that the trigger waits: the smaller of ``timeout`` and ``execution_timeout``.

        The trigger observes ``execution_timeout``, because Airflow does not enforce it while a task is deferred.
        """
        limit = self.execution_timeout.total_seconds() if self.execution_timeout else math.inf
        return min(self.wait_timeout, limit)

    def _defer(self, results: "AsyncResults", request_id: str, deadline: float, began: float | None = None) -> NoReturn:
        from airflow_provider_baseten.operators.async_wait import defer_wait

        defer_wait(
            self,
            results,
            [request_id],
            deadline,
            poll_interval=self.poll_interval,
            cancel_on_kill=self.cancel_on_kill,
            began=began,
            arguments={"request_id": request_id},
        )

    def _sent_body(self, endpoint: str | None) -> bytes | None:
        """Return the body of the request that an earlier process has sent, ``None`` if it can't be built again.

        A decorated task can't build it after a deferral, because the function that returns the input is not called
        again.
        """
        try:
            return self.build_request(endpoint).body
        except BasetenError:
            return None

    def _finish(
        self, context: "Context", submission: "Submission", outcome: str, seconds: float | None, report: WaitReport
    ) -> Any:
        """Return the output of a request after the wait has ended; raise an error if there is no output.

        :param outcome: outcome of the wait.
        :param seconds: duration of the wait.
        :param report: report for the pages.
        """
        from airflow_provider_baseten.waiting.state import Outcome

        results, request_id = submission.results, submission.request_id
        ended = results.check_again({request_id: outcome})
        report(results.log_outcomes(ended, seconds, result_path=self.result_path))
        is_late = ended[request_id] is Outcome.TIMEOUT
        if is_late and self.deferrable and self._longest_deferral < self.wait_timeout:
            self._cancel_late(submission)
            raise AirflowTaskTimeout
        # Before the cancellation, so that the error names the status in which the request was late.
        has_ended = ended[request_id] is Outcome.ENDED
        failure = None if has_ended else results.error(ended[request_id], request_id, timeout=self.wait_timeout)
        if is_late and self.cancel_on_timeout and results.cancel(request_id):
            submission.delete(
                f"Async request {request_id} came too late and was cancelled: the next attempt sends it again."
            )
        try:
            if failure:
                raise failure
            output = submission.output(self.result_path, self.output_path)
        except BasetenAsyncRequestError as error:
            submission.delete(f"The request had ended before: {error}")
            raise
        if self.do_xcom_push:
            context["ti"].xcom_push(key="status", value="SUCCEEDED")
        self.finish(context, submission.summary(output))
        return output
