"""Failures of async requests: an excerpt of the errors that Baseten reports, and advice on what to do next."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_baseten.api.async_predict import AsyncStatus

_EXCERPT_CHARACTERS = 500
_MAX_DEPTH = 4

Quote = Callable[[str], str]


def advice_for_status(state: Any) -> str:
    """Return the advice for an async request that ended with a status other than success."""
    match state:
        case AsyncStatus.EXPIRED:
            return "It did not start in time: raise max_time_in_queue_seconds, or allow more replicas."
        case AsyncStatus.CANCELED:
            return "It was cancelled: to send it again, clear the task that sent it."
    return "Read the model's logs. A retry of the task that sent it sends a new request."


def errors_excerpt(errors: Any, quote: Quote) -> str:
    """Return a short excerpt of the errors, on one line and in brackets; empty if there are no errors.

    :param errors: any JSON value.
    :param quote: function that removes the model's input from text that the server sent.
    """
    text = quote("; ".join(_words_of(errors)))
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f" ({line[:_EXCERPT_CHARACTERS]})" if line else ""


def _words_of(errors: Any, depth: int = 0) -> list[str]:
    match errors:
        case None:
            return []
        case str():
            return [errors[:_EXCERPT_CHARACTERS]]
        case {"code": _} | {"message": _}:
            code, message = (_words_of(errors.get(name), depth + 1) for name in ("code", "message"))
            return [": ".join([*code, *message])]
        case dict() if depth < _MAX_DEPTH:
            return [word for item in itertools.islice(errors.values(), 5) for word in _words_of(item, depth + 1)]
        case list() if depth < _MAX_DEPTH:
            return [word for item in errors[:5] for word in _words_of(item, depth + 1)]
        case bool() | float():
            return [str(errors)]
        case int() if abs(errors) < 10**30:
            return [str(errors)]
    return [f"a value of type {type(errors).__name__}"]


def first_error_code(errors: Any) -> str | None:
    """Return the ``code`` of the first error that has one, ``None`` if none has."""
    items = errors if isinstance(errors, list) else [errors]
    code = next((item["code"] for item in items if isinstance(item, Mapping) and "code" in item), None)
    return code[:_EXCERPT_CHARACTERS] if isinstance(code, str) else None
