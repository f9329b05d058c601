"""Failure records: the error of a failed row, and the response that was billed for it."""

import base64
from typing import Any

import orjson

from airflow_provider_baseten.exceptions import BasetenError

MAX_RECORDED_BYTES = 1 << 20

# Members of a failure record that are about the model's response. The first three hold the response or its size. The
# last, `response_row`, is the number of another row, whose record holds the response.
RESPONSE_MEMBERS = frozenset({"response", "response_base64", "response_bytes", "response_row"})

_MAX_CHARACTERS = 4000
_HTTP_STATUSES = range(100, 1000)


def failure_record(error: BasetenError, response: bytes | None = None, response_row: int | None = None) -> bytes:
    """Return the JSON of a failure.

    :param error: the error.
    :param response: body of the response, if there is one. Its first 1 MiB is recorded: as text if it is UTF-8,
        otherwise as Base64.
    :param response_row: number of another row of the same request, if that row's record holds the response.
    """
    record = {
        "type": type(error).__name__,
        "message": _text(str(error)),
        "status": error.status if error.status in _HTTP_STATUSES else None,
        "error_code": _text(error.error_code),
        "request_id": _text(error.request_id),
        "may_have_run": bool(error.may_have_run),
    }
    if response is not None:
        record |= _response_members(response)
    if response_row is not None:
        record["response_row"] = response_row
    return orjson.dumps(record)


def _text(value: object) -> str | None:
    """Return a string truncated to 4,000 characters, with surrogates escaped; ``None`` if the value is not a string."""
    return value[:_MAX_CHARACTERS].encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else None


def _response_members(body: bytes) -> dict[str, Any]:
    start = body[:MAX_RECORDED_BYTES]
    is_cut = len(body) > len(start)
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        # The cut may have split the last character. So an error in the last three bytes does not mean that the body is
        # not UTF-8.
        if not is_cut or error.start < len(start) - 3:
            response: dict[str, Any] = {"response_base64": base64.b64encode(start).decode()}
        else:
            response = {"response": start[: error.start].decode()}
    else:
        response = {"response": text}
    return response | {"response_bytes": len(body)} if is_cut else response
