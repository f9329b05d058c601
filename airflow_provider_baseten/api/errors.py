"""Errors for HTTP responses: the exception for each status, and its message."""

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_baseten.api.charset import decode_text
from airflow_provider_baseten.api.excerpts import EXCERPT_CHARACTERS, id_note, one_line
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.quotes import redact_input
from airflow_provider_baseten.api.responses import Response, is_success
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenRateLimitError,
    BasetenResponseError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)

# Seconds in a day. If a server asks to wait longer than a day, it is probably mistaken, so one day is used.
MAX_RETRY_AFTER = 86_400.0


def error_for(response: Response) -> BasetenError | None:
    """Return the error for a response, ``None`` if its status is a success."""
    status, request = response.status, response.request
    if is_success(request, status):
        return None
    body = _json_or_none(response)
    kind, advice, retryable, may_have_run = _classify(response)
    text = quotable(_server_text(body, response), request)
    return kind(
        f"{request.subject} returned {status}{f': {text}' if text else ''}. {advice}{id_note(response.request_id)}.",
        status=status,
        error_code=_text_or_none(body.get("error_code")) if isinstance(body, dict) else None,
        request_id=response.request_id,
        retry_after=_retry_after(response.headers.get("retry-after"), body, time.time()),
        retryable=retryable,
        may_have_run=may_have_run or status in request.doubtful_statuses,
    )


def _origin(headers: Mapping[str, str]) -> str:
    """Return the origin of a response: the ``gateway``, the model ``server``, or the ``model``'s own code.

    A Truss server sets the header ``x-baseten-error-source`` to 04. A response without this value is from the gateway.
    If the model's code raised an exception, the Truss server also sets ``x-baseten-error-code`` to 600.
    """
    if headers.get("x-baseten-error-source") != "04":
        return "gateway"
    return "model" if headers.get("x-baseten-error-code") == "600" else "server"


def _classify(response: Response) -> tuple[type[BasetenError], str, bool | None, bool]:
    """Return the type of the error, the advice, whether a retry can help and whether the model may have run.

    If the third value is ``None``, the type of the error decides whether a retry can help.
    """
    status, origin, advice = response.status, _origin(response.headers), response.request.advice
    what_to_do = advice.for_status(status)
    may_run = status >= 500 and bool(advice.may_run)
    if status in _BY_STATUS:
        return _BY_STATUS[status], what_to_do, None, False
    if origin == "model" or (origin == "server" and status >= 500):
        return BasetenModelError, "The model's own code raised this: read its logs", status >= 500, True
    if status in _BY_GATEWAY_STATUS:
        return _BY_GATEWAY_STATUS[status], what_to_do, None, may_run
    if status >= 500:
        return BasetenUnavailableError, what_to_do, None, may_run
    if status < 400:
        return (
            BasetenResponseError,
            "Redirects are not followed: check the Host (the Base URL) of the connection",
            None,
            False,
        )
    return BasetenInputError, what_to_do, None, False


# Statuses that mean the same whether the gateway, the model server or the model's code sends them.
_BY_STATUS: dict[int, type[BasetenError]] = {
    400: BasetenInputError,
    408: BasetenTimeoutError,
    413: BasetenPayloadTooLargeError,
    422: BasetenInputError,
    429: BasetenRateLimitError,
    502: BasetenUnavailableError,
    503: BasetenUnavailableError,
    529: BasetenRateLimitError,
}


_BY_GATEWAY_STATUS: dict[int, type[BasetenError]] = {
    401: BasetenAuthError,
    402: BasetenAuthError,
    403: BasetenAuthError,
    404: BasetenNotFoundError,
    500: BasetenUnavailableError,
    504: BasetenTimeoutError,
}


def _json_or_none(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def _server_text(body: Any, response: Response) -> str:
    """Return the beginning of the server's error message."""
    if isinstance(body, dict):
        error = next((body[key] for key in ("error", "detail", "message") if body.get(key)), "")
        if isinstance(error, dict) and isinstance(error.get("exception_message"), str):
            error = f"{_text_or_none(error.get('exception_cls_name')) or 'Exception'}: {error['exception_message']}"
        text = error if isinstance(error, str) else _dump(error)
    elif response.media_type == "text/html":
        text = "(an HTML page)"
    else:
        head = response.body[: 4 * EXCERPT_CHARACTERS]
        text = decode_text(head, response.headers.get("content-type", "")) or head.decode(errors="replace")
    return text[: 4 * EXCERPT_CHARACTERS].rstrip(". \n")


def quotable(text: str, request: Request) -> str:
    """Return the part of a server's text that an error may quote: one line of bounded length.

    Passages that repeat the model's input are replaced by ``[input]``. If ``error_details`` of the request is
    ``False``, the result is empty.
    """
    if not request.error_details:
        return ""
    private = request.body if request.private_body is None else request.private_body
    return one_line(redact_input(text[: 2 * EXCERPT_CHARACTERS], private), EXCERPT_CHARACTERS)


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _retry_after(header: str | None, body: Any, now: float) -> float | None:
    """Return the seconds that the server asks to wait, from 0 to a day; ``None`` if it does not ask."""
    for value in (header, body.get("retry_after") if isinstance(body, dict) else None):
        if (seconds := _seconds(value, now)) is not None:
            return min(max(0.0, seconds), MAX_RETRY_AFTER)
    return None


def _seconds(value: Any, now: float) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        seconds = MAX_RETRY_AFTER if value > 0 else 0.0  # type: ignore[operator]
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(value)).timestamp() - now
        except (ValueError, OverflowError, TypeError, IndexError, OSError):
            return None
    return seconds if math.isfinite(seconds) else None


def _text_or_none(value: Any) -> str | None:
    return one_line(value, 100) if isinstance(value, str) else None
