"""Async transport: sends requests with pyreqwest without blocking the event loop."""

import asyncio
import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache, cached_property
from typing import Any

import pyreqwest.exceptions
import tenacity
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import HeaderMap, Url
from pyreqwest.proxy import ProxyBuilder

from airflow_provider_baseten.api.content_encoding import ACCEPTED
from airflow_provider_baseten.api.http import JSON, Request
from airflow_provider_baseten.api.responses import Response, is_success
from airflow_provider_baseten.client.ca_bundle import ca_bundle
from airflow_provider_baseten.client.connection_errors import async_failure, connection_lost
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.observer import CallCounts, ObservedCall, Observer, report_counts, with_headers
from airflow_provider_baseten.client.proxies import has_proxies, proxy_for
from airflow_provider_baseten.client.response_reader import IN_MEMORY_BYTES, ResponseReader, checked_response
from airflow_provider_baseten.client.wire import CONNECT_TIMEOUT, USER_AGENT
from airflow_provider_baseten.exceptions import BasetenInputError

# Largest response in a bulk job, in bytes. The limit is low, because many responses are in memory at once.
_MAX_BULK_BYTES = 64 * 1024**2
# Size in bytes above which a response of a bulk job is kept in a temporary file until it is complete.
_BULK_IN_MEMORY_BYTES = 1024**2

# Size in bytes of the first read. Most responses are smaller, so one read returns them completely.
_FIRST_READ_BYTES = 64 * 1024


class AsyncTransport:
    """Sends requests without blocking the event loop. Connections open on first use, so that no fork inherits them.

    :param credentials: address and keys of the workspace.
    :param observer: observer of the calls, by default none.
    """

    # Cache for the next request: path, host and headers of the last request, and the URL and headers in pyreqwest's
    # types. The last request itself is not kept, because its body may be large.
    _last: tuple[str, str, Mapping[str, str], Url, HeaderMap] | None = None

    def __init__(self, credentials: Credentials, observer: Observer | None = None) -> None:
        self._credentials = credentials
        self._observer = observer or Observer()
        self._client: Client | None = None

    @cached_property
    def _most_in_bulk(self) -> int:
        return min(self._credentials.max_response_bytes, _MAX_BULK_BYTES)

    async def send(self, request: Request) -> Response:
        """Send a request, with retries, and return the response.

        :raises BasetenError: error of the last attempt.
        """
        retrying = tenacity.AsyncRetrying(**self._credentials.request_retries.options(request))
        prepared, url = self._credentials.prepared(request), self._credentials.url(request)
        with ObservedCall(self._observer, prepared, url) as call:

            async def attempt() -> Response:
                with call.attempt():
                    return await self._attempt(call.request)

            return call.succeed(await retrying(attempt))

    def prepared(self, request: Request) -> Request:
        """Return a request in the form that :meth:`attempt` takes: with the credentials' settings and the observer's
        headers, which are the same for all attempts.
        """
        return with_headers(self._credentials.prepared(request), self._observer.headers)

    def report_attempts(self, request: Request, counts: CallCounts) -> None:
        """Report calls that were made with :meth:`attempt` to the observer."""
        report_counts(self._observer, request, counts)

    async def close(self) -> None:
        """Close the connections."""
        # pyreqwest's client closes its pooled connections only when the client is garbage-collected. So the attribute
        # must not refer to the client any longer.
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _new_client(self) -> Client:
        builder = (
            ClientBuilder()
            .user_agent(USER_AGENT)
            .follow_redirects(False)
            .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
            .read_timeout(timedelta(seconds=self._credentials.timeout))
            .default_headers({"Accept-Encoding": ACCEPTED})
            .gzip(False)
            .deflate(False)
            .brotli(False)
            .zstd(False)
            .http1_ignore_invalid_headers_in_responses(True)
            .http1_allow_obsolete_multiline_headers_in_responses(True)
            .http1_allow_spaces_after_header_name_in_responses(True)
        )
        if self._proxy_for is None:
            builder = builder.no_proxy()
        else:
            choose = self._proxy_for
            builder = builder.proxy(ProxyBuilder.custom(lambda url: choose(url.origin_ascii)))
        if bundle := ca_bundle():
            builder = builder.add_root_certificate_pem(bundle[1])
        return builder.build()

    @cached_property
    def _proxy_for(self) -> Callable[[str], str | None] | None:
        return cache(proxy_for) if has_proxies() else None

    async def attempt(self, request: Request, body: bytes | None) -> Response:
        """Send a request once, with a body given separately. A bulk job sends one request many times with new bodies.

        :param body: the body that is sent instead of ``request.body``; ``None`` to send no body.
        :returns: the response, with its body in memory. Its headers are found by lower-case name.
        :raises BasetenError: error of this attempt.
        """
        response = await self._exchange(request, body, self._most_in_bulk, _BULK_IN_MEMORY_BYTES)
        return checked_response(response.in_memory(), self._credentials, body)

    async def _attempt(self, request: Request) -> Response:
        response = await self._exchange(request, request.body, self._credentials.max_response_bytes, IN_MEMORY_BYTES)
        response = replace(response, headers=dict(response.headers.items()))
        if is_success(request, response.status):
            return response
        # The check removes parts of the input from the server's error message. If the input is large, the check takes
        # long. So it runs in a thread, where it does not block the event loop.
        return await asyncio.to_thread(checked_response, response, self._credentials)

    def _prepared(self, request: Request) -> tuple[Url, HeaderMap]:
        """Return URL and headers of a request in pyreqwest's types.

        The URL and headers of the last call are returned again if path, host and headers have not changed, as in a bulk
        job.
        """
        last = self._last
        if last and last[0] == request.path and last[1] == request.host and last[2] is request.headers:
            return last[3:]
        try:
            url, headers = Url(self._credentials.url(request)), HeaderMap(request.headers)
        except ValueError as error:
            origin = self._credentials.origin(request.host)
            raise BasetenInputError(
                f"{origin} is not an address that a request can go to ({error}). "
                "Check the Host (the Base URL) of the connection."
            ) from None
        headers.insert("Authorization", self._credentials.authorization(request.host), is_sensitive=True)
        self._last = request.path, request.host, request.headers, url, headers
        return url, headers

    async def _exchange(self, request: Request, body: bytes | None, most: int, in_memory: int) -> Response:
        if self._proxy_for is not None:
            # The result is not used. But if a proxy variable is wrong, this call raises a more readable error than
            # pyreqwest would.
            self._proxy_for(self._credentials.host_url(request.host))
        url, sent_headers = self._prepared(request)
        if self._client is None:
            self._client = self._new_client()
        builder = self._client.request(request.method, url).headers(sent_headers)
        if body is not None:
            builder = builder.body_bytes(body)
        if request.timeout < self._credentials.timeout:
            builder = builder.timeout(timedelta(seconds=request.timeout))
        try:
            async with builder.build_streamed() as streamed:
                status, found, reader = streamed.status, streamed.headers, streamed.body_reader
                headers = _Headers(found)
                # If a read returns fewer bytes than asked for, the body has ended.
                begin = bytes(await reader.read(_FIRST_READ_BYTES) or b"")
                if status == 200 and len(begin) < _FIRST_READ_BYTES and len(begin) <= most and _is_simple(found):
                    return Response(request=request, status=status, headers=headers, body=begin)
                if (headers.get("transfer-encoding") or "chunked").strip().lower() != "chunked":
                    origin = self._credentials.origin(request.host)
                    raise connection_lost(request, origin, http.client.HTTPException())
                incoming = ResponseReader(request, status, headers, max_response_bytes=most, in_memory=in_memory)
                part = begin
                while True:
                    if incoming.is_cheap(part):
                        incoming.add(part)
                    else:
                        await asyncio.to_thread(incoming.add, part)
                    if incoming.is_full or (data := await reader.read_chunk()) is None:
                        return incoming.response()
                    part = bytes(data)
        except pyreqwest.exceptions.PyreqwestError as error:
            origin = self._credentials.origin(request.host)
            timeout = min(request.timeout, self._credentials.timeout)
            raise async_failure(request, error, origin=origin, timeout=timeout) from None


def _is_simple(headers: HeaderMap) -> bool:
    """Return whether the body is JSON and not compressed. This is true of almost all responses in bulk jobs."""
    try:
        return (
            headers.get("content-type") == JSON
            and headers.get("content-encoding") is None
            and headers.get("transfer-encoding") in (None, "chunked")
        )
    except ValueError:  # A header is not ASCII.
        return False


class _Headers(Mapping[str, str]):
    """Headers of an async response. They are looked up in pyreqwest's headers, so that no copy is made.

    The blocking transport uses :func:`plain_headers` instead, which gives the same headers for the same response.
    """

    def __init__(self, found: HeaderMap) -> None:
        self._found = found

    def __getitem__(self, name: str) -> str:
        try:
            return self._found[name]
        except ValueError:
            raise KeyError(name) from None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header, or the default. This method is faster than the one that ``Mapping`` has."""
        try:
            return self._found.get(name, default)
        except ValueError:
            return default

    def __iter__(self) -> Iterator[str]:
        return (name for name in dict.fromkeys(self._found.keys()) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
