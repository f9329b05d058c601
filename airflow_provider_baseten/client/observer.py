"""Observers: they see the calls of a client, and may add HTTP headers to its requests.

The classes :class:`Observer` and :class:`CallObserver` do nothing. An error of a subclass is logged at the level DEBUG,
and never breaks a call.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from airflow_provider_baseten.api.http import Request, checked_headers
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenError

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """Counts of calls that were too many to be observed one by one.

    :param succeeded: calls that got a successful response.
    :param errors: calls that have failed, by the class of the error.
    :param retries: requests that were sent again.
    :param responses: requests to which the model responded, also with an error.
    :param response_seconds: sum of the durations of these requests, in seconds.
    """

    succeeded: int
    errors: Mapping[type[BasetenError], int]
    retries: int
    responses: int
    response_seconds: float


class CallObserver:
    """Observer of one call: a request with its retries. The methods of this class do nothing."""

    def headers(self) -> Mapping[str, str]:
        """Return the HTTP headers to add to each attempt of the call."""
        return {}

    def end_attempt(self, seconds: float, error: BaseException | None) -> None:
        """Take note of the end of an attempt.

        :param seconds: duration of the attempt.
        :param error: error of the attempt, ``None`` if it got a successful response.
        """

    def end(self, response: Response | None, error: BaseException | None) -> None:
        """Take note of the end of the call.

        :param response: the successful response, ``None`` if there is none.
        :param error: error of the call, ``None`` if there is none. It is not a ``BasetenError`` if something outside
            of the call has ended the call, for example Airflow's timeout.
        """


class Observer:
    """Observer of the calls of a client. The methods of this class do nothing."""

    def begin_call(self, request: Request, url: str) -> CallObserver:
        """Return the observer of a call that begins now.

        :param url: URL of the request.
        """
        return CallObserver()

    def headers(self) -> Mapping[str, str]:
        """Return the HTTP headers to add to requests that are not observed one by one.

        These are the requests of a bulk run and those of the OpenAI SDK.
        """
        return {}

    def count_calls(self, request: Request, counts: CallCounts) -> None:
        """Take note of the calls of a bulk run since the last counts.

        :param request: a request with the host and the path of all these calls.
        """


class ObservedCall:
    """A call that is reported to an observer. It begins with the construction, and ends with the ``with`` block.

    :param observer: observer of the client.
    :param request: request of the call. The attribute ``request`` is the same request with the observer's headers.
    :param url: URL of the request.
    """

    def __init__(self, observer: Observer, request: Request, url: str) -> None:
        self._observer = _safely(observer.begin_call, request, url) or CallObserver()
        self._response: Response | None = None
        self.request = with_headers(request, self._observer.headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, error: BaseException | None, traceback: object) -> None:
        _safely(self._observer.end, self._response, error)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Report the end of the attempt that is made in the ``with`` block."""
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            _safely(self._observer.end_attempt, time.monotonic() - began, error)
            raise
        _safely(self._observer.end_attempt, time.monotonic() - began, None)

    def succeed(self, response: Response) -> Response:
        """Note the response of the call, and return it."""
        self._response = response
        return response


def with_headers(request: Request, headers: Callable[[], Mapping[str, str]]) -> Request:
    """Return a request with an observer's headers.

    :param headers: method of the observer that returns the headers.
    """
    added = headers_to_add(request.headers, headers)
    return replace(request, headers={**request.headers, **added}) if added else request


def headers_to_add(present: Iterable[str], headers: Callable[[], Mapping[str, str]]) -> dict[str, str]:
    """Return an observer's headers; none if the request has one of them already, because such headers belong together.

    :param present: names of the headers that the request has.
    :param headers: method of the observer that returns the headers.
    """
    added = _safely(lambda: checked_headers(headers())) or {}
    names = {name.lower() for name in present}
    return {} if any(name.lower() in names for name in added) else added


def report_counts(observer: Observer, request: Request, counts: CallCounts) -> None:
    """Report the calls of a bulk run to an observer."""
    _safely(observer.count_calls, request, counts)


def _safely(method: Callable[..., T], *arguments: object) -> T | None:
    try:
        return method(*arguments)
    except Exception:
        log.debug("An observer of calls has failed.", exc_info=True)
        return None
