"""Errors for async requests that ended without a result."""

from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten.api.async_failure import Quote, error_words, failure_advice, first_code
from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenError,
    BasetenResultLostError,
    BasetenTimeoutError,
)
from airflow_provider_baseten.waiting.state import NO_WEBHOOK, Observation, Outcome


def error_of(
    outcome: Outcome,
    request_id: str,
    *,
    status: Mapping[str, Any] | None,
    timeout: float,
    result_store: str,
    quote: Quote = str,
) -> BasetenError:
    """Return the error for a wait that ended without a result.

    :param status: the last known answer of :func:`get_status`.
    :param timeout: seconds that were waited at most.
    :param result_store: where the result was looked for.
    :param quote: returns what may be quoted of a text of the server.
    """
    fields = status if isinstance(status, Mapping) else {}
    seen = Observation.of_status(fields)
    state, delivery, errors = seen.status, seen.webhook_status, fields.get("errors")
    if outcome is Outcome.TIMEOUT:
        return BasetenTimeoutError(
            f"Async request {request_id} had no result after {timeout:g} s; its last known status is {state}. "
            "Allow more time, or look at the queue and the replicas of the deployment.",
            request_id=request_id,
            may_have_run=True,
        )
    if outcome is Outcome.LOST:
        return BasetenResultLostError(
            f"Async request {request_id}: {_why_lost(state, delivery, result_store)} A retry looks again and sends "
            "nothing; clear the task that has sent it to run the model again.",
            request_id=request_id,
            may_have_run=True,
        )
    return BasetenAsyncRequestError(
        f"Async request {request_id} ended as {state}{error_words(errors, quote)}. {failure_advice(state)}",
        request_id=request_id,
        retryable=state != AsyncStatus.CANCELED,
        error_code=first_code(errors),
        may_have_run=state == AsyncStatus.FAILED,
    )


def _why_lost(state: Any, delivery: Any, result_store: str) -> str:
    if state is None:
        return (
            "Baseten does not know it, or no longer (it keeps statuses for one hour), and its result is not in "
            f"{result_store}: the outcome is unknown."
        )
    if state == AsyncStatus.SUCCEEDED and delivery == "SUCCEEDED":
        return (
            f"its result was delivered, but it is not in {result_store}. The webhook receiver and this worker do not "
            "share a result store: give both the same result_store."
        )
    if delivery == NO_WEBHOOK:
        return "it succeeded, but without a webhook nobody was given its output."
    return f"it succeeded, but its result could not be delivered (webhook status {delivery}): look at the receiver."
