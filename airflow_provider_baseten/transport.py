"""Sends a request: blocking over requests, async over pyreqwest, with one retry policy for both.

Neither follows redirects, which would carry the key elsewhere. Both use the proxies of the environment, and a CA
bundle in ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` or ``SSL_CERT_FILE``.
"""

import asyncio
import http.client
import logging
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyreqwest.exceptions
import requests
import tenacity
import urllib3.exceptions
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import HeaderMap, Url
from pyreqwest.proxy import ProxyBuilder

from airflow_provider_baseten.api.content_encoding import ACCEPTED
from airflow_provider_baseten.api.requests import JSON, READ_TIMEOUT, Request
from airflow_provider_baseten.api.responses import Response, error_for, is_answer
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.http_adapter import SENDING, Adapter, plain_headers
from airflow_provider_baseten.incoming import IN_MEMORY_BYTES, MAX_RESPONSE_BYTES, IncomingAnswer
from airflow_provider_baseten.proxies import has_proxies, proxy_for

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0

USER_AGENT = f"airflow-provider-baseten/{version('airflow-provider-baseten')}"

OnChunk = Callable[[bytes], object]

# Bytes that are read from the wire at once.
_PART_BYTES = 64 * 1024

# A bulk job keeps the answers of all requests in flight in memory.
_MAX_BULK_BYTES = 64 * 1024**2
_BULK_IN_MEMORY_BYTES = 1024**2
_SIMPLE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long the same request is tried.

    :param max_attempts: attempts in all.
    :param total: seconds after which no new attempt begins.
    :param initial: seconds; the upper bound of the first random wait, doubled with each further one.
    :param maximum: seconds; the upper bound of every random wait. A wait that the server asks for is not cut.
    """

    max_attempts: int = 8
    total: float = 3600.0
    initial: float = 1.0
    maximum: float = 60.0

    def options(self, request: Request) -> dict[str, Any]:
        """Return the keyword arguments for tenacity's ``Retrying`` and ``AsyncRetrying``."""

        def wait(state: tenacity.RetryCallState) -> float:
            return self._wait(_failure(state), state.attempt_number)

        def announce(state: tenacity.RetryCallState) -> None:
            log.warning(
                "%s Attempt %d follows in %.1f s.",
                _failure(state),
                state.attempt_number + 1,
                state.upcoming_sleep,
            )

        return {
            "retry": tenacity.retry_if_exception(lambda error: may_repeat(error, request)),
            "wait": wait,
            "stop": lambda state: (
                not self._goes_on(state.attempt_number, state.seconds_since_start or 0.0, state.upcoming_sleep)
            ),
            "before_sleep": announce,
            "reraise": True,
        }

    def pause(self, error: BasetenError, request: Request, attempt: int, elapsed: float) -> float | None:
        """Return how long to wait before the next attempt, ``None`` if there is none.

        :param error: in which the last attempt ended.
        :param attempt: number of the last attempt, from 1.
        :param elapsed: seconds since the first one began.
        """
        if not may_repeat(error, request):
            return None
        seconds = self._wait(error, attempt)
        return seconds if self._goes_on(attempt, elapsed, seconds) else None

    def _goes_on(self, attempt: int, elapsed: float, pause: float) -> bool:
        return attempt < self.max_attempts and elapsed + pause < self.total

    def _wait(self, error: BaseException | None, attempt: int) -> float:
        asked = error.retry_after if isinstance(error, BasetenError) else None
        longest = min(self.maximum, self.initial * 2 ** (attempt - 1))
        return random.uniform(0, longest) if asked is None else asked  # noqa: S311


def may_repeat(error: BaseException, request: Request) -> bool:
    """Tell whether a retry can help, and can't pay twice for what the request does not allow to pay twice."""
    return isinstance(error, BasetenError) and error.retryable and (request.idempotent or not error.may_have_run)


# Sockets wait no longer: they count milliseconds in 32 bits.
_MOST_SECONDS = 2_000_000.0


class _Settings:
    """What both transports are made from.

    :param api_key: sent with every request, never part of a text.
    :param auth_scheme: ``Bearer`` or ``Api-Key``.
    :param read_timeout: seconds to wait for the answer, and for each further part of a streamed one.
    :param retry_policy: when to try again.
    :param max_response_bytes: most bytes of a model's answer, unpacked; by default 1 GiB. What is larger than a few
        megabytes is kept in a temporary file.
    :param error_details: whether errors quote what the server says; by default they do.
    """

    def __init__(
        self,
        api_key: str,
        auth_scheme: str = "Bearer",
        *,
        read_timeout: float = READ_TIMEOUT,
        retry_policy: RetryPolicy | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        error_details: bool = True,
    ) -> None:
        self._api_key = api_key
        self._authorization = f"{auth_scheme} {api_key}"
        self._read_timeout = min(read_timeout, _MOST_SECONDS)
        self._retry_policy = retry_policy or RetryPolicy()
        self._max_response_bytes = max_response_bytes
        self._error_details = error_details

    def marked(self, request: Request) -> Request:
        """Return the request with what this connection wants of its errors."""
        return request if self._error_details else replace(request, error_details=False)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing: even one that is not followed would be parsed, and the body before it read whole."""
        return None


@dataclass(slots=True)
class Attempt:
    """A request that was sent and is not answered yet.

    :param began: when, on the monotonic clock.
    :param request_id: Baseten's id of it, once an answer has begun.
    """

    began: float
    request_id: str | None = None


class Transport(_Settings):
    """Sends requests and blocks until their answer is there. One per thread; its connections open with first use."""

    #: What is under way, also after something that is no error of the call has broken it off, such as a signal.
    under_way: Attempt | None = None

    def send(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Send a request, again if the policy says so, and return its answer.

        :param on_chunk: called with each part of the body as it arrives; a repeated attempt begins anew.
        :raises BasetenError: of the last attempt.
        """
        retrying = tenacity.Retrying(**self._retry_policy.options(request))
        return retrying(self._attempt, self.marked(request), on_chunk)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    @cached_property
    def _session(self) -> requests.Session:
        session = _Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED})
        # It would put a ~/.netrc entry in place of the key, and look for proxies anew at each request.
        session.trust_env = False
        if bundle := ca_bundle():
            session.verify = bundle[0]
        return session

    @cached_property
    def _proxy_for(self) -> Callable[[str], str | None]:
        return cache(proxy_for)

    def _attempt(self, request: Request, on_chunk: OnChunk | None) -> Response:
        proxy = self._proxy_for(_origin(request))
        sending = SENDING.set(True)
        self.under_way = Attempt(time.monotonic())
        try:
            with self._session.send(
                self._prepared(request),
                timeout=(CONNECT_TIMEOUT, self._read_timeout),
                proxies={"http": proxy, "https": proxy} if proxy else {},
                allow_redirects=False,
                stream=True,
            ) as answer:
                incoming = self._read(request, answer, on_chunk)
                self.under_way = None
                return _checked(incoming.response(), self._api_key)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self.under_way = None
            raise _blocking_failure(request, error, self._read_timeout) from None
        finally:
            SENDING.reset(sending)

    def _prepared(self, request: Request) -> requests.PreparedRequest:
        # By itself, not by the session, which looks at each setting in turn, and would send the cookies of servers.
        headers = {**self._session.headers, **request.headers, "Authorization": self._authorization}
        return requests.Request(request.method, request.url, headers=headers, data=request.body).prepare()

    def _read(self, request: Request, answer: requests.Response, on_chunk: OnChunk | None) -> IncomingAnswer:
        headers = plain_headers(answer.raw.headers.iteritems())
        if self.under_way is not None:
            self.under_way.request_id = headers.get("x-baseten-request-id")
        incoming = IncomingAnswer(
            request,
            answer.status_code,
            headers,
            max_response_bytes=self._max_response_bytes,
            on_piece=on_chunk,
        )
        data = answer.raw.read1(_PART_BYTES, decode_content=False)
        while data and not incoming.is_full:
            incoming.add(data)
            data = answer.raw.read1(_PART_BYTES, decode_content=False)
        return incoming


class AsyncTransport(_Settings):
    """Sends requests without blocking the event loop; its connections open with first use, not before a fork."""

    # Address and headers of the last request; not the request itself, whose body may be large.
    _last: tuple[str, Mapping[str, str], Url, HeaderMap] | None = None

    @cached_property
    def _most_in_bulk(self) -> int:
        return min(self._max_response_bytes, _MAX_BULK_BYTES)

    async def send(self, request: Request) -> Response:
        """Send a request, again if the policy says so, and return its answer.

        :raises BasetenError: of the last attempt.
        """
        retrying = tenacity.AsyncRetrying(**self._retry_policy.options(request))
        return await retrying(self._attempt, self.marked(request))

    async def close(self) -> None:
        """Close the kept connections."""
        await self._client.close()

    @cached_property
    def _client(self) -> Client:
        builder = (
            ClientBuilder()
            .user_agent(USER_AGENT)
            .follow_redirects(False)
            .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
            .read_timeout(timedelta(seconds=self._read_timeout))
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
        """Send a request once, with this body in place of its own; for many requests that differ in nothing else.

        :returns: the answer; its headers are not a copy, and found by lower-case name.
        :raises BasetenError: of this attempt.
        """
        response = await self._exchange(request, body, self._most_in_bulk, _BULK_IN_MEMORY_BYTES)
        return _checked(response.in_memory(), self._api_key, body)

    async def _attempt(self, request: Request) -> Response:
        response = await self._exchange(request, request.body, self._max_response_bytes, IN_MEMORY_BYTES)
        response = replace(response, headers=dict(response.headers.items()))
        if is_answer(request, response.status):
            return response
        # Finding what an error quotes of a large input takes its time.
        return await asyncio.to_thread(_checked, response, self._api_key)

    def _prepared(self, request: Request) -> tuple[Url, HeaderMap]:
        """Return address and headers as the client takes them; in a bulk job they are those of every row."""
        if self._last and self._last[0] == request.url and self._last[1] is request.headers:
            return self._last[2:]
        try:
            url, headers = Url(request.url), HeaderMap(request.headers)
        except ValueError as error:
            raise BasetenInputError(f"{_origin(request)} is no address that a request can go to ({error}).") from None
        headers.insert("Authorization", self._authorization, is_sensitive=True)
        self._last = request.url, request.headers, url, headers
        return url, headers

    async def _exchange(self, request: Request, body: bytes | None, most: int, in_memory: int) -> Response:
        if self._proxy_for is not None:
            self._proxy_for(_origin(request))  # pyreqwest could not tell what is wrong with the environment.
        url, sent_headers = self._prepared(request)
        builder = self._client.request(request.method, url).headers(sent_headers)
        if body is not None:
            builder = builder.body_bytes(body)
        try:
            async with builder.build_streamed() as answer:
                status, found, reader = answer.status, answer.headers, answer.body_reader
                headers = _Headers(found)
                # Less than was asked for is all there is.
                begin = bytes(await reader.read(_SIMPLE_BYTES) or b"")
                if status == 200 and len(begin) < _SIMPLE_BYTES and len(begin) <= most and _is_simple(found):
                    return Response(request=request, status=status, headers=headers, body=begin)
                if (headers.get("transfer-encoding") or "chunked").strip().lower() != "chunked":
                    raise _lost(request, http.client.HTTPException())
                incoming = IncomingAnswer(request, status, headers, max_response_bytes=most, in_memory=in_memory)
                part = begin
                while True:
                    if incoming.is_quick(part):
                        incoming.add(part)
                    else:
                        await asyncio.to_thread(incoming.add, part)
                    if incoming.is_full or (data := await reader.read_chunk()) is None:
                        return incoming.response()
                    part = bytes(data)
        except pyreqwest.exceptions.PyreqwestError as error:
            raise _async_failure(request, error, self._read_timeout) from None


def _checked(response: Response, api_key: str, body: bytes | None = None) -> Response:
    """Return an answer that is no error.

    :param body: what was sent in place of the body of the request.
    """
    if is_answer(response.request, response.status):
        return response
    sent = response if body is None else replace(response, request=replace(response.request, body=body))
    if error := error_for(sent):
        error.args = (str(error).replace(api_key, "***"),)
        raise error
    return response


def _is_simple(headers: HeaderMap) -> bool:
    """Tell whether a small answer is its body as it is, as almost every one is in bulk jobs."""
    try:
        return (
            headers.get("content-type") == JSON
            and headers.get("content-encoding") is None
            and headers.get("transfer-encoding") in (None, "chunked")
        )
    except ValueError:  # One of them is not ASCII.
        return False


class _Headers(Mapping[str, str]):
    """Headers of an async answer, found without a copy: as :func:`plain_headers` has them."""

    def __init__(self, found: HeaderMap) -> None:
        self._found = found

    def __getitem__(self, name: str) -> str:
        try:
            return self._found[name]
        except ValueError:
            raise KeyError(name) from None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header; quicker than what every mapping has."""
        try:
            return self._found.get(name, default)
        except ValueError:
            return default

    def __iter__(self) -> Iterator[str]:
        return (name for name in dict.fromkeys(self._found.keys()) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def ca_bundle() -> tuple[str, bytes] | None:
    """Return path and content of the CA bundle that the environment names.

    :raises BasetenInputError: it can't be read or holds no certificate.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if path := os.environ.get(variable):
            try:
                content = Path(path).read_bytes()
                _check_certificates(content)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
                raise BasetenInputError(
                    f"{variable}={path} is not a usable CA bundle ({error}): name a PEM file with certificates."
                ) from None
            return path, content
    return None


@lru_cache(maxsize=1)  # It takes longer than a call to a server nearby.
def _check_certificates(content: bytes) -> None:
    ssl.create_default_context(cadata=content.decode("ascii") or "empty")


def _blocking_failure(
    request: Request, error: requests.RequestException | urllib3.exceptions.HTTPError, read_timeout: float
) -> BasetenError:
    reason = error if isinstance(error, urllib3.exceptions.HTTPError) else next(iter(error.args), None)
    if isinstance(error, requests.exceptions.SSLError):
        return _untrusted(request, reason)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return _not_connected(request, "no answer", timeout=True)
    if isinstance(error, requests.exceptions.ReadTimeout) or isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return _not_answered(request, read_timeout)
    if isinstance(reason, urllib3.exceptions.MaxRetryError):
        return _not_connected(request, reason.reason)
    return _lost(request, error)


def _async_failure(request: Request, error: pyreqwest.exceptions.PyreqwestError, read_timeout: float) -> BasetenError:
    details = getattr(error, "details", None) or {}
    causes = [cause["message"] for cause in details.get("causes") or []]
    reason = causes[-1] if causes else str(error)
    if "certificate" in reason:
        return _untrusted(request, reason)
    # Its ConnectError and ConnectTimeoutError also stand for what happens to a connection after the request was sent.
    if "client error (Connect)" in causes:
        timeout = isinstance(error, pyreqwest.exceptions.RequestTimeoutError)
        return _not_connected(request, "no answer" if timeout else reason, timeout=timeout)
    if isinstance(error, pyreqwest.exceptions.RequestTimeoutError):
        return _not_answered(request, read_timeout)
    return _lost(request, error)


def _untrusted(request: Request, reason: object) -> BasetenError:
    return BasetenUnavailableError(
        f"{request.subject} was not sent: the server's certificate is not trusted ({_short(reason)}). "
        "Name your CA bundle in REQUESTS_CA_BUNDLE.",
        retryable=False,
    )


def _not_connected(request: Request, reason: object, *, timeout: bool = False) -> BasetenError:
    kind = BasetenTimeoutError if timeout else BasetenUnavailableError
    return kind(
        f"{request.subject} was not sent: {_origin(request)} can't be reached ({_short(reason)}). "
        "Check the Host (the Base URL) of the connection, the network and the proxy settings."
    )


def _not_answered(request: Request, read_timeout: float) -> BasetenError:
    return BasetenTimeoutError(
        f"{request.subject} was sent, but no answer came within {read_timeout:g} s."
        f"{_may_run(request)} {request.advice.no_answer}",
        may_have_run=bool(request.advice.may_run),
    )


def _lost(request: Request, error: Exception) -> BasetenError:
    return BasetenUnavailableError(
        f"{request.subject} was sent, but the connection was lost before the whole answer was there "
        f"({type(error).__name__}).{_may_run(request) or ' Try again later.'}",
        may_have_run=bool(request.advice.may_run),
    )


def _may_run(request: Request) -> str:
    return f" {request.advice.may_run}" if request.advice.may_run else ""


def _origin(request: Request) -> str:
    return "/".join(request.url.split("/", 3)[:3])


def _short(reason: object) -> str:
    text = str(reason)
    return f"{text[:197]}..." if len(text) > 200 else text
