"""Async wait: how a task waits for async requests, on a worker or by a deferral."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.triggers.async_request import BasetenAsyncRequestTrigger
from airflow_provider_baseten.waiting.deferral import timeout_after
from airflow_provider_baseten.waiting.results import AsyncResults

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.hooks.baseten import BasetenHook
    from airflow_provider_baseten.operators.base import BasetenOperator


def open_results(
    operator: "BasetenOperator",
    hook: "BasetenHook",
    target: "Target",
    *,
    expects_delivery: bool,
    is_assumed: bool = False,
    sent_body: bytes | None = None,
) -> AsyncResults:
    """Return an object that waits for async requests and reads their results. It must be closed.

    :param operator: operator or sensor of the task.
    :param hook: hook for the operator's connection.
    :param target: the model or chain that was called.
    :param expects_delivery: whether outputs come by webhook.
    :param is_assumed: whether ``expects_delivery`` is a guess.
    :param sent_body: body of the request that was sent, ``None`` if it is not known.
    :raises BasetenError: the connection can't be read or is not valid.
    """
    return AsyncResults(
        hook.client(),
        target,
        store=ResultStore(hook.connection.result_store),
        baseten_conn_id=operator.baseten_conn_id,
        expects_delivery=expects_delivery,
        is_assumed=is_assumed,
        sent_body=sent_body,
        log=operator.log,
    )


def defer_wait(
    operator: "BasetenOperator",
    results: AsyncResults,
    request_ids: Sequence[str],
    deadline: float,
    *,
    poll_interval: float,
    cancel_on_kill: bool,
    began: float | None,
    arguments: Mapping[str, Any],
) -> NoReturn:
    """Defer a task until its async requests have ended or the deadline has passed. It resumes in ``execute_complete``.

    :param operator: operator or sensor of the task.
    :param results: result of :func:`open_results`. The trigger gets its ``target``, ``expects_delivery`` and
        ``is_assumed``.
    :param request_ids: ids of the requests.
    :param deadline: end of the wait in seconds since the epoch; ``execute_complete`` gets it as ``deadline``.
    :param poll_interval: longest wait between two status calls, in seconds.
    :param cancel_on_kill: whether the trigger cancels the requests if a user ends the task.
    :param began: start of the wait in seconds since the epoch; ``None`` for the time when the trigger is made.
    :param arguments: other arguments of ``execute_complete``, besides context and event.
    :raises TaskDeferred: always; it is how Airflow defers a task.
    """
    operator.defer(
        trigger=BasetenAsyncRequestTrigger(
            baseten_conn_id=operator.baseten_conn_id,
            target=asdict(results.target),
            request_ids=request_ids,
            expects_delivery=results.expects_delivery,
            is_assumed=results.is_assumed,
            deadline=deadline,
            poll_interval=poll_interval,
            cancel_on_kill=cancel_on_kill,
            began=began,
            page=operator.page,
        ),
        method_name="execute_complete",
        kwargs={**arguments, "deadline": deadline},
        timeout=timeout_after(deadline),
    )
