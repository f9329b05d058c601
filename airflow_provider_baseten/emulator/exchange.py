"""One HTTP request and its answer, as the gateway handles them."""

import asyncio
import json
from collections import deque
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.records import RecordedRequest

REQUEST_ID_HEADER = "X-Baseten-Request-Id"
_DISCONNECT: Message = {"type": "http.disconnect"}


class Exchange:
    """Stands between the server and what answers: counts, limits, and notices when the client goes away.

    :param scope: ASGI scope of the request.
    :param receive: the server's ``receive``.
    :param send: the server's ``send``.
    :param record: filled in on the way.
    :param body_limit: largest request body in bytes.
    :param connections: the server's connections.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        record: RecordedRequest,
        body_limit: int,
        connections: ClientConnections,
    ) -> None:
        self.scope = scope
        self.record = record
        self.headers = record.headers
        self.method = record.method
        self.started = False
        self.finished = False
        self.muted = False
        self.truncate_after: int | None = None
        self.after_webhook = False
        self._receive = receive
        self._send = send
        self._connections = connections
        self._body_limit = body_limit
        self._buffered: deque[Message] = deque()
        self._body_complete = False
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self.given_up = False

    async def prefetch(self, *, whole: bool) -> None:
        """Read the first part of the body, or all of it; once it is read, a disconnect is noticed.

        :param whole: read all of it.
        """
        while not self._body_complete and not self.given_up:
            self._buffered.append(await self._next())
            if not whole:
                return

    async def body(self) -> bytes:
        """Return the whole body."""
        await self.prefetch(whole=True)
        return b"".join(message.get("body", b"") for message in self._buffered)

    async def receive(self) -> Message:
        """Return the next ASGI message for the app behind."""
        if self._buffered:
            return self._buffered.popleft()
        if self._body_complete:
            return await self._receive()
        return await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._give_up()
            return message
        self.record.body_bytes += len(message.get("body", b""))
        if self.record.body_bytes > self._body_limit:
            await self.refuse(self._too_large())
            await self._give_up()
            return _DISCONNECT
        if not message.get("more_body", False):
            self._body_complete = True
            self._watcher = asyncio.create_task(self._watch())
        return message

    def check_content_length(self) -> None:
        """Raise the gateway's 413 when the request says that it is too large."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._body_limit:
            raise self._too_large()

    async def send(self, message: Message) -> None:
        """Pass an ASGI message of the app behind on to the client."""
        if self.muted or self.finished:
            return
        if message["type"] == "http.response.start":
            self.started = True
            self.record.status = message["status"]
            name = REQUEST_ID_HEADER.lower().encode()
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != name]
            headers.append((name, self.record.request_id.encode()))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            message = self._truncated(message)
            self.record.response_bytes += len(message.get("body", b""))
            self.finished = not message.get("more_body", False)
        try:
            await self._send(message)
        except RuntimeError:
            if self._connections.is_open(self.scope):
                raise
            self.finished = True  # The client went away, and the server has not noticed yet.
        if self.truncate_after is not None and self.record.response_bytes >= self.truncate_after:
            await self.disconnect(reset=False)

    def _truncated(self, message: Message) -> Message:
        if self.truncate_after is None:
            return message
        body = message.get("body", b"")[: self.truncate_after - self.record.response_bytes]
        return {**message, "body": body, "more_body": True}

    async def answer(self, status: int, body: bytes, content_type: str | None, headers: dict[str, str]) -> None:
        """Answer in place of the model."""
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if content_type is not None and not any(name == b"content-type" for name, _ in pairs):
            pairs.append((b"content-type", content_type.encode()))
        pairs.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, content: Any) -> None:
        """Answer in place of the model, in JSON."""
        await self.answer(status, json.dumps(content).encode(), "application/json", {})

    async def refuse(self, error: GatewayError) -> None:
        """Answer with a gateway error, or break off an answer that is already under way."""
        if self.started:
            await self.disconnect(reset=False)
        else:
            await self.answer(error.status, error.body(), "application/json", error.headers)

    async def disconnect(self, *, reset: bool) -> None:
        """End the connection before the answer is complete.

        :param reset: whether by a reset, which also loses what is still on its way.
        """
        if not self.finished:
            self.finished = True
            self._connections.end(self.scope, reset=reset)
            await asyncio.sleep(0)  # The server notices before it would complain about an incomplete answer.

    def close(self) -> None:
        """Stop watching for a disconnect."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self) -> None:
        await self._receive()
        if not self.finished:
            await self._give_up()

    async def _give_up(self) -> None:
        """Cancel the work: nobody waits for the answer any more."""
        if self.record.status is None:
            self.record.status = 499
        self.given_up = True
        if self._task is not None:
            self._task.cancel()
        await asyncio.sleep(0)

    def _too_large(self) -> GatewayError:
        message = f"The request body exceeds the maximum size of {self._body_limit} bytes."
        return GatewayError(413, message, "payload_too_large")


def describe(record: RecordedRequest, address: Address) -> None:
    """Note in a record what was addressed."""
    if address.kind == "model":
        record.model_id = address.id
    elif address.kind == "chain":
        record.chain_id = address.id
    record.action = address.action
    record.environment = address.environment
    record.deployment_id = address.deployment_id
    record.regional = address.regional
    record.route = address.route
