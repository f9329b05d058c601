"""Clients of the official OpenAI SDK with the credentials and the retries of this package."""

import asyncio
import logging
import ssl
import time
from dataclasses import replace
from importlib import import_module
from typing import Any

import openai

from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.client.ca_bundle import ca_bundle
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.observer import Observer, headers_to_add
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.wire import CONNECT_TIMEOUT, USER_AGENT
from airflow_provider_baseten.exceptions import BasetenError, BasetenUnavailableError

log = logging.getLogger(__name__)

# The HTTP library that the SDK uses: httpx, or httpx2 in newer versions.
_httpx: Any = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

#: Exceptions of the HTTP library after which nothing was sent.
NOT_SENT = (_httpx.ConnectError, _httpx.ConnectTimeout, _httpx.PoolTimeout)


class _Attempts:
    """Counts the attempts of one call, and decides whether and when the next attempt follows.

    :param retries: limits for the number of attempts and the time between them.
    :param request: request that represents the call; see :func:`request_of`.
    """

    def __init__(self, retries: RequestRetries, request: Request) -> None:
        self._retries = retries
        self._request = request
        self._began = time.monotonic()
        self._count = 0

    def pause_after_response(self, response: Any) -> float | None:
        """Return the seconds until the next attempt. ``None`` means no retry: the SDK gets this response."""
        found = Response(request=self._request, status=response.status_code, headers=response.headers, body=b"")
        return self._pause(error_for(found))

    def pause_after_exception(self, exception: Exception) -> float | None:
        """Return the seconds until the next attempt. ``None`` means no retry: the exception is raised."""
        if not isinstance(exception, NOT_SENT):
            return self._pause(None)
        is_retryable = "certificate" not in str(exception).lower()
        words = f"{self._request.subject} was not sent: {exception}."
        return self._pause(BasetenUnavailableError(words, retryable=is_retryable))

    def _pause(self, error: BasetenError | None) -> float | None:
        self._count += 1
        if error is None:
            return None
        seconds = self._retries.pause(error, self._request, self._count, time.monotonic() - self._began)
        if seconds is not None:
            log.warning("%s Attempt %d follows in %.1f s.", error, self._count + 1, seconds)
        return seconds


class _RetryingTransport(_httpx.BaseTransport):  # type: ignore[misc]
    def __init__(self, retries: RequestRetries, request: Request, transport: Any, observer: Observer) -> None:
        self._retries, self._request, self._transport, self._observer = retries, request, transport, observer

    def handle_request(self, request: Any) -> Any:
        attempts = _Attempts(self._retries, self._request)
        request.headers.update(headers_to_add(request.headers, self._observer.headers))
        while True:
            try:
                response = self._transport.handle_request(request)
            except Exception as exception:
                if (seconds := attempts.pause_after_exception(exception)) is None:
                    raise
            else:
                if (seconds := attempts.pause_after_response(response)) is None:
                    return response
                response.close()
            time.sleep(seconds)

    def close(self) -> None:
        self._transport.close()


class _AsyncRetryingTransport(_httpx.AsyncBaseTransport):  # type: ignore[misc]
    def __init__(self, retries: RequestRetries, request: Request, transport: Any, observer: Observer) -> None:
        self._retries, self._request, self._transport, self._observer = retries, request, transport, observer

    async def handle_async_request(self, request: Any) -> Any:
        attempts = _Attempts(self._retries, self._request)
        request.headers.update(headers_to_add(request.headers, self._observer.headers))
        while True:
            try:
                response = await self._transport.handle_async_request(request)
            except Exception as exception:
                if (seconds := attempts.pause_after_exception(exception)) is None:
                    raise
            else:
                if (seconds := attempts.pause_after_response(response)) is None:
                    return response
                await response.aclose()
            await asyncio.sleep(seconds)

    async def aclose(self) -> None:
        await self._transport.aclose()


def make_client(credentials: Credentials, target: Target | ModelApis, observer: Observer) -> openai.OpenAI:
    """Return a client of the OpenAI-compatible server of a target."""
    request, retries = request_of(target), credentials.request_retries
    transport = _httpx.HTTPTransport(**_transport_settings(credentials, request))
    http_client = openai.DefaultHttpxClient(
        transport=_RetryingTransport(retries, request, transport, observer), **_CLIENT_SETTINGS
    )
    return openai.OpenAI(http_client=http_client, **_settings(credentials, request))


def make_async_client(credentials: Credentials, target: Target | ModelApis, observer: Observer) -> openai.AsyncOpenAI:
    """Return an async client of the OpenAI-compatible server of a target."""
    request, retries = request_of(target), credentials.request_retries
    transport = _httpx.AsyncHTTPTransport(**_transport_settings(credentials, request))
    http_client = openai.DefaultAsyncHttpxClient(
        transport=_AsyncRetryingTransport(retries, request, transport, observer), **_CLIENT_SETTINGS
    )
    return openai.AsyncOpenAI(http_client=http_client, **_settings(credentials, request))


# With trust_env, the HTTP library would choose proxies by its own rules, and take keys from ~/.netrc.
_CLIENT_SETTINGS: dict[str, Any] = {"follow_redirects": False, "trust_env": False}


def request_of(target: Target | ModelApis) -> Request:
    """Return a request that represents all calls of the SDK.

    The SDK's base URL, the error messages and the decisions on retries are made from this request.
    """
    return replace(build_sync_route(target, "v1", method="POST"), subject=f"Call of {target}")


def _settings(credentials: Credentials, request: Request) -> dict[str, Any]:
    # A Truss server streams to the OpenAI SDK only if the user agent contains "OpenAI". Without this word, the server
    # sends the whole output at once.
    headers = {"User-Agent": f"{USER_AGENT} OpenAI/Python {openai.__version__}"}
    if credentials.auth_scheme != "Bearer":
        headers["Authorization"] = credentials.authorization(request.host)
    return {
        "api_key": credentials.api_key,
        "base_url": credentials.url(request),
        "timeout": openai.Timeout(credentials.timeout, connect=CONNECT_TIMEOUT),
        "max_retries": 0,
        "default_headers": headers,
    }


def _transport_settings(credentials: Credentials, request: Request) -> dict[str, Any]:
    bundle = ca_bundle()
    trust = {"verify": ssl.create_default_context(cafile=bundle[0])} if bundle else {}
    # The same limits as in the SDK's own transport.
    limits = _httpx.Limits(max_connections=1000, max_keepalive_connections=100)
    return {"trust_env": False, "limits": limits, "proxy": proxy_for(credentials.url(request)), **trust}
