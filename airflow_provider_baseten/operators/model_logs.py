"""Model logs: the lines that a model has logged for a failed request, at the end of the task's log."""

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.excerpts import printable_lines
from airflow_provider_baseten.api.quotes import redact_input
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenError,
    BasetenModelError,
    BasetenOutputError,
)

if TYPE_CHECKING:
    from airflow_provider_baseten.api.management.call import Call
    from airflow_provider_baseten.api.management.logs import LogLine
    from airflow_provider_baseten.client.credentials import Credentials

# Most lines that are logged, and characters of a line.
_MAX_LINES = 50
_MAX_CHARACTERS = 500
# Bytes of an input that is searched for in the lines. The search takes longer for a larger input.
_MAX_INPUT_BYTES = 100_000
# Longest time in seconds that the task waits for the lines.
_SECONDS = 6.0
# Lines arrive a little later than the error, so a second look follows after this pause in seconds.
_PAUSE = 2.0
# Age in seconds of the oldest line. An async request can wait in the queue for three days.
_MAX_AGE = 4 * 86_400.0


def log_model_lines(operator: Any, error: BaseException) -> None:
    """Log what the model has logged for the request that failed. If that can't be read, nothing is logged.

    The lines are read only if the error comes from the model, the key of the connection may read them, and
    ``log_error_details`` of the connection is not off. In the lines, quotes from the input of the task are replaced by
    ``[input]``. For a task that does not know the input, such as a sensor, or whose input is too large to search for,
    only the command that shows the lines is logged.

    :param operator: operator of the task.
    :param error: error with which the task fails.
    """
    request_id, sent = failed_request_id(error), _input_of(operator)
    try:
        target = operator.called_target
    except (AttributeError, BasetenError):
        return
    if request_id is None or not isinstance(target, Target) or target.model_id is None:
        return
    if sent is None:
        operator.log.info(
            "What the model has logged: airflow baseten logs --model-id %s --request-id %s", target.model_id, request_id
        )
        return
    found = _lines_of(operator.baseten_conn_id, target, request_id)
    if found:
        operator.log.info("The model's log of request %s:", request_id)
    # A traceback is one line of the model's log, and several of the task's.
    texts = [(line.level or "INFO", text) for line in found for text in printable_lines(line.message)]
    for level, text in texts[-_MAX_LINES:]:
        operator.log.info("| %s %s", level, redact_input(text[: 2 * _MAX_CHARACTERS], sent)[:_MAX_CHARACTERS])


def _input_of(operator: Any) -> bytes | None:
    """Return the input of a task as JSON; ``None`` if the task does not know it, or it is too large or not JSON.

    A decorated task that was deferred does not know its input, because its function is not called again.
    """
    fields = getattr(operator, "hidden_fields", ())
    if not fields:
        return None
    try:
        body = json.dumps([getattr(operator, name) for name in fields]).encode()
    except (ValueError, TypeError, RecursionError):
        return None
    return body if len(body) <= _MAX_INPUT_BYTES else None


def failed_request_id(error: BaseException) -> str | None:
    """Return the id of a request that failed in the model; ``None`` for other errors."""
    is_of_model = isinstance(error, BasetenModelError) and not isinstance(error, BasetenOutputError)
    if is_of_model or (isinstance(error, BasetenAsyncRequestError) and error.may_have_run):
        return error.request_id  # type: ignore[attr-defined, no-any-return]
    return None


def _lines_of(baseten_conn_id: str, target: Target, request_id: str) -> "list[LogLine]":
    """Return the last lines of a request, the oldest first; none if they can't be read in time."""
    import pendulum

    from airflow_provider_baseten.api.management.logs import get_logs
    from airflow_provider_baseten.client.retries import RequestRetries
    from airflow_provider_baseten.hooks.baseten import BasetenHook

    start = pendulum.from_timestamp(time.time() - _MAX_AGE)
    call = get_logs(target, request_id=request_id, start=start, direction="desc", limit=_MAX_LINES)
    try:
        connection = BasetenHook(baseten_conn_id).connection
    except BasetenError:
        return []
    if not connection.log_error_details:
        return []
    credentials = connection.credentials(_SECONDS / 2, RequestRetries(max_attempts=1))
    found: list[LogLine] = []
    # The timeout of a call limits each of its steps, but not their sum. A daemon thread does not hold up the end of the
    # process.
    reading = threading.Thread(target=lambda: found.extend(_read(credentials, call)), daemon=True)
    reading.start()
    reading.join(_SECONDS)
    return found[:]


def _read(credentials: "Credentials", call: "Call[list[LogLine]]") -> "list[LogLine]":
    from airflow_provider_baseten.client.client import Client

    try:
        with Client(credentials) as client:
            lines = client.management.call(call)
            if not lines:
                time.sleep(_PAUSE)
                lines = client.management.call(call)
    except BasetenError:  # The key may not read logs, or the server has no management API.
        return []
    return lines[::-1]
