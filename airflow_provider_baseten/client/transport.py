"""Blocking transport: sends requests with the library requests."""

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
from airflow_provider_baseten.client.connection_errors import blocking_failure, origin_of
from airflow_provider_baseten.client.http_adapter import SENDING, Adapter, plain_headers
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.client.response_reader import IncomingAnswer
from airflow_provider_baseten.client.settings import CONNECT_TIMEOUT, USER_AGENT, TransportSettings, checked_response

OnChunk = Callable[[bytes], object]


# Bytes that are read from the wire at once.
_PART_BYTES = 64 * 1024


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


class Transport(TransportSettings):
    """Sends requests and blocks until their answer is there. One per thread; its connections open with first use."""

    #: What is under way, also after something that is no error of the call has broken it off, such as a signal.
    under_way: Attempt | None = None

    def send(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Send a request, again if the policy says so, and return its answer.

        :param on_chunk: called with each part of the body as it arrives; a repeated attempt begins anew.
        :raises BasetenError: of the last attempt.
        """
        retrying = tenacity.Retrying(**self._retries.options(request))
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
        proxy = self._proxy_for(origin_of(request))
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
                return checked_response(incoming.response(), self._api_key)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self.under_way = None
            raise blocking_failure(request, error, self._read_timeout) from None
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
