"""Fields of OpenAI's requests and responses that spans show: names and numbers, but no content.

Only values of the expected form are returned, because a server may put any text into a field.
"""

import re
from typing import Any

import msgspec

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response

# Largest body in bytes that is read. Bodies that are larger hold embeddings or images.
_MAX_BYTES = 1024 * 1024

# Number of events at the end of a stream that are read. They hold the finish reason and the token counts.
_LAST_EVENTS = 4

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}")
_REASON = re.compile(r"[a-z_]{1,40}")
_MAX_TOKENS = 1 << 63

# Errors of a body that is no JSON, has other types, is not UTF-8, or is nested too deeply.
_NOT_READABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class _Details(msgspec.Struct):
    cached_tokens: Any = None
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _RequestBody(msgspec.Struct):
    model: Any = None
    stream: Any = None


class _ResponseBody(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


def request_fields(request: Request) -> dict[str, Any]:
    """Return the attributes of a request."""
    body = request.body or b""
    if len(body) > _MAX_BYTES:
        return {}
    try:
        found = msgspec.json.decode(body, type=_RequestBody)
    except _NOT_READABLE:
        return {}
    return _known({"gen_ai.request.model": _matching(_NAME, found.model)}) | (
        {"gen_ai.request.stream": True} if found.stream is True else {}
    )


def response_fields(response: Response) -> dict[str, Any]:
    """Return the attributes of a response, streamed or not."""
    if response.large is not None or response.size > _MAX_BYTES:
        return {}
    attributes: dict[str, Any] = {}
    for document in _documents(response):
        try:
            attributes |= _fields_of(msgspec.json.decode(document, type=_ResponseBody))
        except _NOT_READABLE:
            continue
    return attributes


def _documents(response: Response) -> list[bytes]:
    if response.media_type != "text/event-stream":
        return [response.body]
    events = [line[5:] for line in response.body.splitlines() if line.startswith(b"data:")]
    return events[:1] + events[1:][-_LAST_EVENTS:]


def _fields_of(body: _ResponseBody) -> dict[str, Any]:
    reasons = [_matching(_REASON, choice.finish_reason) for choice in body.choices or ()]
    usage = body.usage or _Usage()
    read, written = usage.prompt_tokens_details or _Details(), usage.completion_tokens_details or _Details()
    return _known(
        {
            "gen_ai.response.id": _matching(_NAME, body.id),
            "gen_ai.response.model": _matching(_NAME, body.model),
            "gen_ai.response.finish_reasons": [reason for reason in reasons if reason] or None,
            "gen_ai.usage.input_tokens": _count(usage.prompt_tokens),
            "gen_ai.usage.output_tokens": _count(usage.completion_tokens),
            "gen_ai.usage.cache_read.input_tokens": _count(read.cached_tokens),
            "gen_ai.usage.reasoning.output_tokens": _count(written.reasoning_tokens),
        }
    )


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MAX_TOKENS else None


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
