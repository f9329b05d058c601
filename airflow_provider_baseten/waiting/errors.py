"""Errors for async requests that ended without a result."""

from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_baseten.api.async_failure import Quote, advice_for_status, errors_excerpt, first_error_code
from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenError,
    BasetenResultLostError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.waiting.log import name_of
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

    :param status: response of the last status call; ``None`` if the call failed.
    :param timeout: longest wait in seconds.
    :param result_store: URI of the result store that was read.
    :param quote: function that takes a string from the server, and returns the part that an error message may quote.
    """
    fields = status if isinstance(status, Mapping) else {}
    seen = Observation.of_status(fields)
    state, delivery, errors = seen.status, seen.webhook_status, fields.get("errors")
    if outcome is Outcome.TIMEOUT:
        return BasetenTimeoutError(
            f"Async request {request_id} had no result after {timeout:g} s; its last known status is {state}. "
            "Look at the queue and the replicas of the deployment, or raise the timeout of the task.",
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
        f"Async request {request_id} ended as {state}{errors_excerpt(errors, quote)}. {advice_for_status(state)}",
        request_id=request_id,
        retryable=state != AsyncStatus.CANCELED,
        error_code=first_error_code(errors),
        may_have_run=state == AsyncStatus.FAILED,
    )


def _why_lost(state: Any, delivery: Any, result_store: str) -> str:
    if state is None:
        return (
            "Baseten does not know it, or no longer (it keeps a status for one hour), and its result is not in "
            f"{result_store}: the outcome is unknown."
        )
    if state == AsyncStatus.SUCCEEDED and delivery == "SUCCEEDED":
        return (
            f"its result was delivered, but it is not in {result_store}. The webhook receiver and this worker do not "
            "share a result store: give both the same result_store."
        )
    if delivery == NO_WEBHOOK:
        return (
            "it succeeded, but it was sent without a webhook, so its output was not delivered: give the connection, or "
            "the operator that sends it, a webhook_endpoint."
        )
    return (
        f"it succeeded, but its result could not be delivered (webhook status {delivery}): check that Baseten can "
        "reach the webhook_endpoint, and look for refused deliveries in the log of the webhook receiver (of Airflow's "
        "API server, unless the receiver runs by itself)."
    )


def no_connection(conn_id: str, error: Exception, request_ids: Collection[str], *, after: float) -> BasetenError:
    """Return the error for a wait during which the Airflow connection was never readable. A retry may succeed.

    :param error: error of the last attempt to read the connection.
    :param after: seconds since the wait began.
    """
    kind = type(error) if isinstance(error, BasetenError) else BasetenUnavailableError
    words = str(error) if isinstance(error, BasetenError) else f"Reading it raised {type(error).__name__}."
    continuing = "request continues" if len(request_ids) == 1 else "requests continue"
    return kind(
        f"Connection '{conn_id}' could not be read by the triggerer for {after:g} s, since it began to "
        f"wait for {name_of(request_ids)}. {words} Make the connection known to the triggerer too. The "
        f"{continuing} at Baseten; a retry of the task waits for the result again and sends nothing.",
        retryable=True,
        may_have_run=True,
    )
