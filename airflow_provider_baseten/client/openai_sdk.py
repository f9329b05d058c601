"""Clients of the official OpenAI SDK with the credentials of a connection and the retries of this package."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import openai

from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.sync_route import route_advice
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.ca_bundle import ca_bundle
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.settings import CONNECT_TIMEOUT, USER_AGENT
from airflow_provider_baseten.exceptions import BasetenError, BasetenUnavailableError
from airflow_provider_baseten.hooks.connection import BasetenConnection

log = logging.getLogger(__name__)

# By name: versions of the SDK differ in the HTTP library below them.
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})


class _Retries:
    """Decides, for one call, whether and when it is sent again.

    :param policy: how often and how long.
    :param target: what is called.
    """

    def __init__(self, policy: RequestRetries, target: Target) -> None:
        self._policy = policy
        self._request = Request(
            method="POST", url=target.sync_url("v1"), subject=f"Call of {target}", advice=route_advice(target)
        )
        self._began = time.monotonic()
        self._attempt = 0

    def pause(self, answer: Any, raised: Exception | None) -> float | None:
        """Return how many seconds to wait before the next attempt, ``None`` if there is none.

        :param answer: of the last attempt, if it was answered.
        :param raised: what the last attempt raised, if it was not.
        """
        self._attempt += 1
        error = self._not_sent(raised) if raised is not None else self._refused(answer)
        if error is None:
            return None
        seconds = self._policy.pause(error, self._request, self._attempt, time.monotonic() - self._began)
        if seconds is not None:
            log.warning("%s Attempt %d follows in %.1f s.", error, self._attempt + 1, seconds)
        return seconds

    def _refused(self, answer: Any) -> BasetenError | None:
        return error_for(Response(request=self._request, status=answer.status_code, headers=answer.headers, body=b""))

    def _not_sent(self, raised: Exception) -> BasetenError | None:
        if type(raised).__name__ not in _NOT_SENT:
            return None
        return BasetenUnavailableError(
            f"{self._request.subject} was not sent: {raised}.", retryable="certificate" not in str(raised).lower()
        )


class _Client(openai.DefaultHttpxClient):
    retries: Callable[[], _Retries]

    def send(self, request: Any, **kwargs: Any) -> Any:
        retries = self.retries()
        while True:
            try:
                answer = super().send(request, **kwargs)
            except Exception as raised:
                if (seconds := retries.pause(None, raised)) is None:
                    raise
            else:
                if (seconds := retries.pause(answer, None)) is None:
                    return answer
                answer.close()
            time.sleep(seconds)


class _AsyncClient(openai.DefaultAsyncHttpxClient):
    retries: Callable[[], _Retries]

    async def send(self, request: Any, **kwargs: Any) -> Any:
        retries = self.retries()
        while True:
            try:
                answer = await super().send(request, **kwargs)
            except Exception as raised:
                if (seconds := retries.pause(None, raised)) is None:
                    raise
            else:
                if (seconds := retries.pause(answer, None)) is None:
                    return answer
                await answer.aclose()
            await asyncio.sleep(seconds)


def make_client(
    connection: BasetenConnection, target: Target, *, read_timeout: float, request_retries: RequestRetries | None
) -> openai.OpenAI:
    """Return a client whose base URL is the OpenAI-compatible server of a target.

    :param target: at the host of the connection.
    :param read_timeout: seconds to wait for the answer, and for each further part of a streamed one.
    :param request_retries: when to try again.
    """
    http_client = _Client(**_http_settings(target))
    http_client.retries = partial(_Retries, request_retries or RequestRetries(), target)
    return openai.OpenAI(http_client=http_client, **_settings(connection, target, read_timeout))


def make_async_client(
    connection: BasetenConnection, target: Target, *, read_timeout: float, request_retries: RequestRetries | None
) -> openai.AsyncOpenAI:
    """Return an async client; see :func:`make_client`."""
    http_client = _AsyncClient(**_http_settings(target))
    http_client.retries = partial(_Retries, request_retries or RequestRetries(), target)
    return openai.AsyncOpenAI(http_client=http_client, **_settings(connection, target, read_timeout))


def _settings(connection: BasetenConnection, target: Target, read_timeout: float) -> dict[str, Any]:
    # A Truss server gathers a stream into one answer unless the user agent names OpenAI.
    headers = {"User-Agent": f"{USER_AGENT} OpenAI/Python {openai.__version__}"}
    if connection.auth_scheme != "Bearer":
        headers["Authorization"] = f"{connection.auth_scheme} {connection.api_key}"
    return {
        "api_key": connection.api_key,
        "base_url": target.sync_url("v1"),
        "timeout": openai.Timeout(read_timeout, connect=CONNECT_TIMEOUT),
        "max_retries": 0,
        "default_headers": headers,
    }


def _http_settings(target: Target) -> dict[str, Any]:
    bundle = ca_bundle()
    trust = {"verify": ssl.create_default_context(cafile=bundle[0])} if bundle else {}
    # It would read the environment by rules of its own, and a ~/.netrc.
    return {"follow_redirects": False, "trust_env": False, "proxy": proxy_for(target.sync_url("v1")), **trust}
