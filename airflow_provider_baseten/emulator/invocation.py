"""One run of the model for an async request, and what came of it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from airflow_provider_baseten.emulator.async_requests import AsyncRequestError
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.exchange import REQUEST_ID_HEADER

# Status of the model -> code of the error, and whether the model is run again.
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
_STREAMS = {"application/octet-stream", "text/event-stream"}
_EXCERPT = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run of the model.

    :param data: its output, any JSON.
    :param error: why there is none.
    :param retry: whether that is a reason to run it again.
    :param busy: whether the model refused for now, which is no failure.
    """

    data: Any = None
    error: AsyncRequestError | None = None
    retry: bool = False
    busy: bool = False


TIMED_OUT = Outcome(error=AsyncRequestError("MODEL_PREDICT_TIMEOUT", "The model did not answer in time."), retry=True)
CRASHED = Outcome(error=AsyncRequestError("INTERNAL_SERVER_ERROR", "The server of the model failed."), retry=True)


async def invoke(app: ASGIApp, path: str, request_id: str, body: bytes) -> Outcome:
    """Run the model in its container.

    :param app: the server inside the container.
    :param path: path on that server that predictions are sent to.
    :param request_id: id that the model finds in the header ``x-baseten-request-id``.
    :param body: JSON input.
    """
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    outgoing: list[Message] = []

    async def receive() -> Message:
        if not incoming:
            await asyncio.Event().wait()  # Nobody disconnects.
        return incoming.pop()

    async def send(message: Message) -> None:
        outgoing.append(message)

    try:
        await app(_scope(path, request_id, body), receive, send)
    except GatewayError as error:
        return outcome_of(error.status, "application/json", error.body())
    start = next(message for message in outgoing if message["type"] == "http.response.start")
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    content = b"".join(message.get("body", b"") for message in outgoing if message["type"] == "http.response.body")
    return outcome_of(start["status"], headers.get(b"content-type", b"").decode("latin-1"), content)


def outcome_of(status: int, content_type: str, content: bytes) -> Outcome:
    """Return what a model's answer means.

    :param status: HTTP status.
    :param content_type: content type, empty when there is none.
    :param content: the whole body.
    """
    if status == 429:
        return Outcome(busy=True)
    if not 200 <= status < 300:
        code, retry = _ERRORS.get(status, _OTHER_ERROR)
        text = content[:_EXCERPT].decode(errors="replace")
        return Outcome(error=AsyncRequestError(code, f"The model answered {status}: {text}"), retry=retry)
    if not content:
        return Outcome()
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _STREAMS:
        return Outcome(error=AsyncRequestError("ASYNC_REQUEST_NOT_SUPPORTED", "The output is a stream or binary."))
    try:
        return Outcome(content.decode() if media_type.startswith("text/") else json.loads(content))
    except ValueError:
        return Outcome(error=AsyncRequestError("ASYNC_REQUEST_NOT_SUPPORTED", "The output is not JSON."))


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
