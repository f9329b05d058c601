"""Upstream: a running HTTP server as the backend of a model, for example Truss's server, llama.cpp or vLLM."""

from collections.abc import AsyncIterator

import httpx
from starlette.types import Receive, Scope, Send

from airflow_provider_baseten.emulator.errors import EmulatorError, GatewayError

Headers = list[tuple[bytes, bytes]]

# Headers that apply to a single connection. A proxy must not forward them (RFC 9110, 7.6.1).
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class Upstream:
    """ASGI app that forwards requests to another server and streams bodies in both directions.

    :param url: base URL, for example ``http://127.0.0.1:9000``. If it has a path, requests are sent below that path.
    :raises EmulatorError: the URL is not an http(s) URL.
    """

    def __init__(self, url: str) -> None:
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL:
            base = httpx.URL()
        if base.scheme not in {"http", "https"} or not base.host or base.query or base.fragment:
            raise EmulatorError(f"Upstream {url[:200]!r} is not a URL such as http://127.0.0.1:9000.")
        self._base = base
        self._ssl_context = httpx.create_ssl_context() if base.scheme == "https" else False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            # Connections are not reused. After an unhandled error, Truss's server closes the connection without notice,
            # and the next request on that connection would be lost. With many requests, new connections are also faster
            # than a pool.
            async with httpx.AsyncHTTPTransport(verify=self._ssl_context, trust_env=False) as transport:
                await self._forward(transport, scope, receive, send)

    async def _forward(self, transport: httpx.AsyncBaseTransport, scope: Scope, receive: Receive, send: Send) -> None:
        body = _stream_body(receive) if _has_body(scope) else None
        request = httpx.Request(scope["method"], self._url(scope), headers=_request_headers(scope), content=body)
        try:
            response = await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise GatewayError(503, "No replica of the model is reachable.", "model_unavailable") from exc
        except httpx.HTTPError as exc:
            raise GatewayError(502, "Error making prediction", "model_unavailable") from exc
        try:
            await _send_response(response, send)
        except httpx.HTTPError as exc:
            raise GatewayError(502, "Error making prediction", "model_unavailable") from exc
        finally:
            await response.aclose()

    def _url(self, scope: Scope) -> httpx.URL:
        path = self._base.raw_path.rstrip(b"/") + scope["raw_path"]
        query = scope["query_string"]
        return self._base.copy_with(raw_path=path + b"?" + query if query else path)


async def _stream_body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _send_response(response: httpx.Response, send: Send) -> None:
    headers = [pair for pair in _end_to_end(response.headers.raw) if pair[0] != b"date"]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _request_headers(scope: Scope) -> Headers:
    return [pair for pair in _end_to_end(scope["headers"]) if pair[0] != b"host"]


def _end_to_end(headers: Headers) -> Headers:
    lowered = [(name.lower(), value) for name, value in headers]
    listed = {token.strip().lower() for name, value in lowered if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in _HOP_BY_HOP and name not in listed]


def _has_body(scope: Scope) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])
