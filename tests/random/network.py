"""Baseten, the webhook receiver, and the network between them and Airflow: all in one event loop, without a socket."""

import asyncio
import io
import json
from collections import defaultdict
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client import connection_errors, response_reader
from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.connections import Connections, Lookup
from tests.random.virtual_time import Windows

Answer = tuple[int, dict[str, str], bytes]


class ConnectionLostError(Exception):
    """The request was sent, and no whole answer came."""


class NotReachedError(Exception):
    """The request was not sent."""


async def call(app: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Send one request to an ASGI app; whoever stops waiting is a client that has gone."""
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    # In a context of its own: what the server does is not done by the worker that called it.
    serving = asyncio.get_running_loop().create_task(app(scope, receive, send), context=Context())
    try:
        await asyncio.shield(serving)
    finally:
        gone.set()
    if len(messages) < 2 or messages[-1].get("more_body", False):
        raise ConnectionLostError
    answered = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], answered, b"".join(message["body"] for message in messages[1:])


class Network:
    """Carries the calls of workers and triggerers to Baseten, and its webhooks to the receiver.

    :param gateway: Baseten.
    :param lookup: how the receiver finds a connection.
    :param draw: latencies.
    :param down: when Baseten can't be reached.
    :param receiver_down: when the receiver can't be reached.
    :param clock: seconds that have passed.
    """

    def __init__(
        self,
        gateway: Any,
        lookup: Lookup,
        *,
        draw: Random,
        down: Windows,
        receiver_down: Windows,
        clock: Callable[[], float],
    ) -> None:
        self.down = down
        self.delivered: dict[str, tuple[float, dict[str, Any]]] = {}
        self.answers: dict[str, list[tuple[float, str, int | None]]] = defaultdict(list)
        self.on_delete: Callable[[str], None] = lambda request_id: None
        self._gateway = gateway
        self._receiver = create_app(Connections(lookup, clock=clock))
        self._receiver_down = receiver_down
        self._draw = draw
        self._clock = clock

    async def exchange(self, method: str, url: str, headers: Any, body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109 - of virtual time.
        """Carry one call to Baseten.

        :raises NotReachedError: Baseten is down.
        :raises ConnectionLostError: it took the call, perhaps.
        :raises TimeoutError: it did not answer.
        """
        path = urlsplit(url).path
        request_id = path.rpartition("/async_request/")[2] if "/async_request/" in path else ""
        status = None
        try:
            await asyncio.sleep(self._draw.uniform(0, 0.2))
            if self.down.contain(self._clock()):
                raise NotReachedError
            if method == "DELETE":
                self.on_delete(request_id)
            async with asyncio.timeout(timeout):
                answer = await call(self._gateway, method, path, {"host": "127.0.0.1", **headers}, body)
            await asyncio.sleep(self._draw.uniform(0, 0.2))
            status = answer[0]
            return answer
        finally:
            self.answers[request_id].append((self._clock(), method, status))

    def trouble(self, request_id: str, method: str, since: float = 0.0) -> bool:
        """Tell whether Baseten's answer to a question about a request was none, or another than the truth."""
        answers = self.answers[request_id]
        return any(at >= since and (method, 200) != (how, status) for at, how, status in answers if how == method)

    async def deliver(self, request: httpx.Request) -> httpx.Response:
        """Carry one webhook to the receiver."""
        await asyncio.sleep(self._draw.uniform(0, 0.2))
        if self._receiver_down.contain(self._clock()):
            raise httpx.ConnectError("refused")
        headers = dict(request.headers)
        status, answered, body = await call(self._receiver, "POST", request.url.path, headers, request.content)
        if status == 200:
            payload = json.loads(request.content)
            self.delivered.setdefault(payload["request_id"], (self._clock(), payload))
        return httpx.Response(status, headers=answered, content=body)

    def webhook_transport(self, **_: Any) -> httpx.AsyncBaseTransport:
        network = self

        class Webhook(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                return await network.deliver(request)

        return Webhook()

    async def attempt(self, sender: Any, request: Request) -> Any:
        """Do what ``AsyncTransport`` does with one call."""
        credentials = sender._credentials
        headers = {**request.headers, "authorization": credentials.authorization(request.host)}
        try:
            status, answered, body = await self.exchange(
                request.method, credentials.url(request), headers, request.body or b"", credentials.timeout
            )
        except NotReachedError:
            raise connection_errors.not_connected(request, credentials.origin(request.host), "refused") from None
        except TimeoutError:
            raise connection_errors.timed_out(request, credentials.timeout) from None
        except ConnectionLostError as error:
            raise connection_errors.connection_lost(request, credentials.origin(request.host), error) from None
        response = Response(request=request, status=status, headers=answered, body=body)
        return response_reader.checked_response(response, credentials)


def as_requests(prepared: Any, answer: Answer) -> requests.Response:
    """Return an answer as requests has it."""
    response = requests.Response()
    response.status_code, headers, body = answer
    response.headers = CaseInsensitiveDict(headers)
    response.raw = urllib3.HTTPResponse(io.BytesIO(body), headers, preload_content=False)
    response.request = prepared
    response.url = prepared.url
    return response
