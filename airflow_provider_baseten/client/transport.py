"""Blocking transport: sends HTTP requests with the library ``requests``."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import requests
import tenacity
import urllib3.exceptions

from airflow_provider_baseten.api.content_encoding import ACCEPTED
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client.ca_bundle import ca_bundle
from airflow_provider_baseten.client.connection_errors import blocking_failure
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.http_adapter import SENDING, Adapter, plain_headers
from airflow_provider_baseten.client.observer import ObservedCall, Observer
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.client.response_reader import ResponseReader, checked_response
from airflow_provider_baseten.client.wire import CONNECT_TIMEOUT, USER_AGENT
from airflow_provider_baseten.exceptions import BasetenError

OnChunk = Callable[[bytes], object]


# Maximum number of bytes that one read from the socket returns.
_PART_BYTES = 64 * 1024


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return ``None``, so that ``requests`` sees no redirect.

        If ``requests`` saw one, it would read the whole body of the response, even with ``allow_redirects=False``.
        """
        return None


@dataclass(slots=True)
class Attempt:
    """A request that was sent and has no complete response yet.

    :param began: time of sending, in seconds of the monotonic clock.
    :param request_id: Baseten's request id, once the response has begun.
    """

    began: float
    request_id: str | None = None


class Transport:
    """Sends requests and blocks until the response has arrived. Each thread needs a transport of its own.

    The connections open on first use.

    :param credentials: address and keys of the workspace.
    :param observer: observer of the calls, by default none.
    """

    #: The request in flight, ``None`` if there is none. The value stays set if an exception from a signal handler
    #: ends the call, for example Airflow's timeout. The operator then describes the interrupted request in its error.
    attempt_in_flight: Attempt | None = None

    def __init__(self, credentials: Credentials, observer: Observer | None = None) -> None:
        self._credentials = credentials
        self._observer = observer or Observer()

    def send(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Send a request, with retries, and return the response.

        :param on_chunk: called with each part of the body as it arrives; a retry begins again with the first part.
        :raises BasetenError: error of the last attempt.
        """
        retrying = tenacity.Retrying(**self._credentials.request_retries.options(request))
        prepared, url = self._credentials.prepared(request), self._credentials.url(request)
        with ObservedCall(self._observer, prepared, url) as call:

            def attempt() -> Response:
                with call.attempt():
                    return self._attempt(call.request, on_chunk)

            return call.succeed(retrying(attempt))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @cached_property
    def _session(self) -> requests.Session:
        session = _Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED})
        # A safeguard: `requests` must not replace the API key with an entry of ~/.netrc, and must not choose a proxy.
        # The methods below pass the key and the proxy explicitly.
        session.trust_env = False
        if bundle := ca_bundle():
            session.verify = bundle[0]
        return session

    @cached_property
    def _proxy_for(self) -> Callable[[str], str | None]:
        return cache(proxy_for)

    def _attempt(self, request: Request, on_chunk: OnChunk | None) -> Response:
        proxy = self._proxy_for(self._credentials.host_url(request.host))
        timeout = min(request.timeout, self._credentials.timeout)
        sending = SENDING.set(True)
        self.attempt_in_flight = Attempt(time.monotonic())
        try:
            with self._session.send(
                self._prepared(request),
                timeout=(CONNECT_TIMEOUT, timeout),
                proxies={"http": proxy, "https": proxy} if proxy else {},
                allow_redirects=False,
                stream=True,
            ) as streamed:
                incoming = self._read(request, streamed, on_chunk)
                self.attempt_in_flight = None
                return checked_response(incoming.response(), self._credentials)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self.attempt_in_flight = None
            origin = self._credentials.origin(request.host)
            raise blocking_failure(request, error, origin=origin, timeout=timeout) from None
        except BasetenError:
            self.attempt_in_flight = None
            raise
        finally:
            SENDING.reset(sending)

    def _prepared(self, request: Request) -> requests.PreparedRequest:
        # The request is prepared without the session. The session would add its own settings, and cookies that the
        # server has set.
        authorization = self._credentials.authorization(request.host)
        headers = {**self._session.headers, **request.headers, "Authorization": authorization}
        url = self._credentials.url(request)
        return requests.Request(request.method, url, headers=headers, data=request.body).prepare()

    def _read(self, request: Request, streamed: requests.Response, on_chunk: OnChunk | None) -> ResponseReader:
        headers = plain_headers(streamed.raw.headers.iteritems())
        if self.attempt_in_flight is not None:
            self.attempt_in_flight.request_id = headers.get("x-baseten-request-id")
        incoming = ResponseReader(
            request,
            streamed.status_code,
            headers,
            max_response_bytes=self._credentials.max_response_bytes,
            on_piece=on_chunk,
        )
        data = streamed.raw.read1(_PART_BYTES, decode_content=False)
        while data and not incoming.is_full:
            incoming.add(data)
            data = streamed.raw.read1(_PART_BYTES, decode_content=False)
        return incoming
