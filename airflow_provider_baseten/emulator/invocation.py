"""Invocation of a model for an async request."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from airflow_provider_baseten.emulator.async_requests import AsyncRequestError
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.exchange import REQUEST_ID_HEADER

# HTTP status of the model's response -> error code of the async request, and whether the model is invoked again.
_ERRORS = {
    400: ("MODEL_NOT_READY", True),
    404: ("MODEL_DOES_NOT_EXIST", False),
    422: ("MODEL_INVALID_INPUT", False),
    500: ("MODEL_PREDICT_ERROR", True),
    502: ("MODEL_UNAVAILABLE", True),
    503: ("MODEL_UNAVAILABLE", True),
    504: ("MODEL_PREDICT_TIMEOUT", True),
}
_OTHER_ERROR = ("MODEL_PREDICT_ERROR", False)
_STREAM_MEDIA_TYPES = {"application/octet-stream", "text/event-stream"}
_MAX_EXCERPT_BYTES = 300


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """Result of one invocation of the model.

    :param data: output of the model, any JSON.
    :param error: error, ``None`` if the invocation succeeded.
    :param is_retryable: whether the error allows another attempt.
    :param is_busy: whether the model responded with status 429. Such a response does not count as a failed attempt.
    """

    data: Any = None
    error: AsyncRequestError | None = None
    is_retryable: bool = False
    is_busy: bool = False


TIMED_OUT = InvocationResult(
    error=AsyncRequestError("MODEL_PREDICT_TIMEOUT", "The model did not respond in time."), is_retryable=True
)
CRASHED = InvocationResult(
    error=AsyncRequestError("INTERNAL_SERVER_ERROR", "The model's server failed."), is_retryable=True
)


async def invoke(app: ASGIApp, path: str, request_id: str, body: bytes) -> InvocationResult:
    """Send a request to the model in its container, and return the result.

    :param app: ASGI app that runs the model.
    :param path: path on which the app makes predictions.
    :param request_id: value of the header ``x-baseten-request-id``.
    :param body: input in JSON.
    """
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    outgoing: list[Message] = []

    async def receive() -> Message:
        if not incoming:
            await asyncio.Event().wait()  # Wait forever, because this caller never disconnects.
        return incoming.pop()

    async def send(message: Message) -> None:
        outgoing.append(message)

    try:
        await app(_scope(path, request_id, body), receive, send)
    except GatewayError as error:
        return interpret_response(error.status, "application/json", error.body())
    start = next(message for message in outgoing if message["type"] == "http.response.start")
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    content = b"".join(message.get("body", b"") for message in outgoing if message["type"] == "http.response.body")
    return interpret_response(start["status"], headers.get(b"content-type", b"").decode("latin-1"), content)


def interpret_response(status: int, content_type: str, content: bytes) -> InvocationResult:
    """Convert the HTTP response of a model to the result of the invocation.

    :param status: HTTP status.
    :param content_type: content type, empty if the response has none.
    :param content: response body.
    """
    if status == 429:
        return InvocationResult(is_busy=True)
    if not 200 <= status < 300:
        code, is_retryable = _ERRORS.get(status, _OTHER_ERROR)
        text = content[:_MAX_EXCERPT_BYTES].decode(errors="replace")
        error = AsyncRequestError(code, f"The model responded with status {status}: {text}")
        return InvocationResult(error=error, is_retryable=is_retryable)
    if not content:
        return InvocationResult()
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _STREAM_MEDIA_TYPES:
        return _unsupported_output("The output is a stream or binary.")
    try:
        return InvocationResult(content.decode() if media_type.startswith("text/") else json.loads(content))
    except ValueError:
        return _unsupported_output("The output is not JSON.")


def _unsupported_output(message: str) -> InvocationResult:
    return InvocationResult(error=AsyncRequestError("ASYNC_REQUEST_NOT_SUPPORTED", message))


def _scope(path: str, request_id: str, body: bytes) -> Scope:
    headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "content-length": str(len(body)),
        REQUEST_ID_HEADER.lower(): request_id,
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": None,
    }
