"""HTTP exchange: one request and its response, as the gateway handles them."""

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
    """One request and its response.

    The exchange limits the size of the request body, records the request, and cancels it if the client disconnects.

    :param scope: ASGI scope of the request.
    :param receive: the server's ``receive``.
    :param send: the server's ``send``.
    :param record: record of the request, to which this class adds the status and the sizes.
    :param body_limit: maximum size of the request body in bytes.
    :param connections: open connections of the server.
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
        self.method = record.method
        #: The ``Authorization`` header, which is not recorded.
        self.authorization: str | None = None
        #: Whether the request was cancelled because the client disconnected or the request body was too large.
        self.is_abandoned = False
        #: Whether the request is carried out even if the client disconnects meanwhile.
        self.outlives_client = False
        #: Whether the model's response is dropped, because an injected fault replaces it.
        self.discard_response = False
        #: Number of bytes of the response body after which the connection is closed, ``None`` to send the whole body.
        self.truncate_after: int | None = None
        #: Whether the response to an async submission is held back until the async request and its webhook have ended.
        self.after_webhook = False
        #: Body of the model's response, ``None`` if it is not kept.
        self.kept_response: bytearray | None = None
        self._receive = receive
        self._send = send
        self._connections = connections
        self._body_limit = body_limit
        self._buffered: deque[Message] = deque()
        self._is_body_complete = False
        self._is_response_started = False
        self._is_response_finished = False
        self._task = asyncio.current_task()
        self._disconnect_watcher: asyncio.Task[None] | None = None

    async def prefetch(self, *, whole: bool) -> None:
        """Read the first part of the request body, or the whole body, before the model's server asks for it.

        Once the whole body has been read, the client is watched for a disconnect. A disconnect cancels the request.

        :param whole: whether to read the whole body instead of the first part.
        """
        while not self._is_body_complete and not self.is_abandoned:
            self._buffered.append(await self._next())
            if not whole:
                return

    async def body(self) -> bytes:
        """Return the whole request body."""
        await self.prefetch(whole=True)
        return b"".join(message.get("body", b"") for message in self._buffered)

    async def receive(self) -> Message:
        """Return the next ASGI message for the model's server."""
        if self._buffered:
            return self._buffered.popleft()
        if self._is_body_complete:
            return await self._receive()
        return await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._abandon()
            return message
        self.record.body_bytes += len(message.get("body", b""))
        if self.record.body_bytes > self._body_limit:
            await self.respond_error(self._too_large())
            await self._abandon()
            return _DISCONNECT
        if not message.get("more_body", False):
            self._is_body_complete = True
            self._disconnect_watcher = asyncio.create_task(self._watch_disconnect())
        return message

    def check_content_length(self) -> None:
        """Raise GatewayError with status 413 if the ``Content-Length`` header exceeds the limit."""
        length = self.record.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._body_limit:
            raise self._too_large()

    async def send(self, message: Message) -> None:
        """Send an ASGI message of the model's server to the client."""
        if self.kept_response is not None and message["type"] == "http.response.body":
            self.kept_response += message.get("body", b"")
        if self.discard_response or self._is_response_finished:
            return
        if message["type"] == "http.response.start":
            self._is_response_started = True
            self.record.status = message["status"]
            name = REQUEST_ID_HEADER.lower().encode()
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != name]
            headers.append((name, self.record.request_id.encode()))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            message = self._truncate(message)
            self.record.response_bytes += len(message.get("body", b""))
            self._is_response_finished = not message.get("more_body", False)
        try:
            await self._send(message)
        except RuntimeError:
            if self._connections.is_open(self.scope):
                raise
            self._is_response_finished = True  # The client disconnected, and uvicorn has not noticed yet.
        if self.truncate_after is not None and self.record.response_bytes >= self.truncate_after:
            await self.disconnect(reset=False)

    def _truncate(self, message: Message) -> Message:
        if self.truncate_after is None:
            return message
        body = message.get("body", b"")[: self.truncate_after - self.record.response_bytes]
        return {**message, "body": body, "more_body": True}

    async def respond(self, status: int, body: bytes, content_type: str | None, headers: dict[str, str]) -> None:
        """Send a response that the gateway itself makes.

        :param status: HTTP status.
        :param body: response body.
        :param content_type: content type, ``None`` to send none. It is ignored if ``headers`` contains a content type.
        :param headers: response headers.
        """
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if content_type is not None and not any(name == b"content-type" for name, _ in pairs):
            pairs.append((b"content-type", content_type.encode()))
        pairs.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body})

    async def respond_json(self, status: int, content: Any) -> None:
        """Send a JSON response that the gateway itself makes."""
        await self.respond(status, json.dumps(content).encode(), "application/json", {})

    async def respond_error(self, error: GatewayError) -> None:
        """Send an error response. If the response has already started, close the connection instead."""
        if self._is_response_started:
            await self.disconnect(reset=False)
        else:
            await self.respond(error.status, error.body(), "application/json", error.headers)

    async def disconnect(self, *, reset: bool) -> None:
        """Close the connection before the response is complete.

        :param reset: whether to reset the connection. A reset also drops data that the client has not read yet.
        """
        if not self._is_response_finished:
            self._is_response_finished = True
            self._connections.close(self.scope, reset=reset)
            await asyncio.sleep(0)  # Let uvicorn notice the close, so that it logs no error for an incomplete response.

    def close(self) -> None:
        """Stop watching the client for a disconnect."""
        if self._disconnect_watcher is not None:
            self._disconnect_watcher.cancel()

    async def _watch_disconnect(self) -> None:
        await self._receive()
        if not self._is_response_finished and not self.outlives_client:
            await self._abandon()

    async def _abandon(self) -> None:
        """Cancel the task that handles the request.

        If the client disconnected before a response started, the status 499 is recorded.
        """
        if self.record.status is None:
            self.record.status = 499
        self.is_abandoned = True
        if self._task is not None:
            self._task.cancel()
        await asyncio.sleep(0)

    def _too_large(self) -> GatewayError:
        message = f"The request body exceeds the maximum size of {self._body_limit} bytes."
        return GatewayError(413, message, "payload_too_large")


def record_address(record: RecordedRequest, address: Address) -> None:
    """Write a request's address into its record."""
    if address.kind == "model":
        record.model_id = address.id
    elif address.kind == "chain":
        record.chain_id = address.id
    record.action = address.action
    record.environment = address.environment
    record.deployment_id = address.deployment_id
    record.regional = address.regional
    record.route = address.route
