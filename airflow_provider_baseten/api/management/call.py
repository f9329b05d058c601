"""Call of the management API: a request, and how its response is read."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from pydantic import ValidationError

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.api.http import JSON, MANAGEMENT_HOST, Request
from airflow_provider_baseten.api.management.resource import Resource, adapter_of
from airflow_provider_baseten.api.responses import Response, decode_object, not_as_documented
from airflow_provider_baseten.exceptions import BasetenResponseError

T = TypeVar("T")

# Seconds. Calls of the management API are short, because they run no model.
_TIMEOUT = 60.0

# Bytes. A page of 1000 log lines is the largest response.
_MAX_RESPONSE_BYTES = 16 * 1024 * 1024

# After these statuses Baseten may have done what a request asked for.
_DOUBTFUL = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request to the management API, and the function that reads its response.

    :param request: the request.
    :param read: function that returns the result; it raises BasetenResponseError for a response that is not as
        documented.
    """

    request: Request
    read: Callable[[Response], T]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Page of a long list.

    :param items: items of the page.
    :param cursor: mark of the next page; ``None`` on the last page.
    """

    items: list[T]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class PagedCall(Generic[T]):
    """Call for a list that comes in pages.

    :param page: function that returns the call for a page. It takes the cursor of the page, ``None`` for the first one.
    """

    page: Callable[[str | None], Call[Page[T]]]


class Pagination(Resource):
    """Whether a list has another page."""

    has_more: bool = False
    cursor: str | None = None


def get(path: str, subject: str, read: Callable[[Response], T], **query: Any) -> Call[T]:
    """Return a call that reads.

    :param path: path that begins with ``/v1``.
    :param subject: name of the call in error messages.
    :param query: parameters of the query; ``None`` leaves a parameter out, and a list repeats it.
    """
    return Call(_request("GET", path + _encode(query), subject, None, idempotent=True), read)


def change(
    method: str,
    path: str,
    subject: str,
    read: Callable[[Response], T],
    body: Mapping[str, Any] | None = None,
    *,
    private: Sequence[str] = (),
    idempotent: bool = True,
) -> Call[T]:
    """Return a call that changes something.

    :param method: HTTP method.
    :param path: path that begins with ``/v1``.
    :param subject: name of the call in error messages.
    :param body: JSON body, by default none.
    :param private: texts of the body that no error message may quote, by default none.
    :param idempotent: whether sending the request twice does the same as sending it once; by default true. Otherwise it
        is not sent again if Baseten may have received it.
    """
    request = _request(method, path, subject, body, idempotent=idempotent)
    return Call(replace(request, private_body=json.dumps(private).encode()), read)


def paged(path: str, subject: str, kind: type[T], **query: Any) -> PagedCall[T]:
    """Return a call for a list that comes in pages. Each page repeats the parameters of the first one.

    :param path: path that begins with ``/v1``.
    :param subject: name of the call in error messages.
    :param kind: type of an item.
    :param query: parameters of the query, without ``cursor``.
    """

    def read(response: Response) -> Page[T]:
        found = decode_object(response, "items")
        pagination = _validated(response, Pagination, found.get("pagination") or {})
        items = _validated(response, list[kind], found["items"])  # type: ignore[valid-type]
        return Page(items, (pagination.cursor or None) if pagination.has_more else None)

    def page(cursor: str | None) -> Call[Page[T]]:
        return get(path, subject, read, **query, cursor=cursor)

    return PagedCall(page)


def reads(kind: type[T], member: str | None = None) -> Callable[[Response], T]:
    """Return the function that reads a response.

    :param kind: type of the result.
    :param member: member of the response that holds it; by default the whole response.
    """
    return partial(_read, kind=kind, member=member)


def _read(response: Response, *, kind: type[T], member: str | None) -> T:
    found = decode_object(response)
    if member is not None and member not in found:
        raise not_as_documented(response, f"there is no {member}")
    return _validated(response, kind, found if member is None else found[member])


def accepts(kind: type[T]) -> Callable[[Response], T]:
    """Return the function that reads the response to a change, which may have no body.

    :param kind: type of the result, whose fields all have defaults.
    """

    def read(response: Response) -> T:
        return kind() if response.output() is None else _read(response, kind=kind, member=None)

    return read


def read_nothing(response: Response) -> None:
    """Read a response whose content does not matter."""


def _validated(response: Response, kind: type[T], value: Any) -> T:
    try:
        valid: T = adapter_of(kind).validate_python(value)
    except ValidationError as error:
        raise _unexpected(response, error) from None
    return valid


def _unexpected(response: Response, error: ValidationError) -> BasetenResponseError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return not_as_documented(response, f"{_place(first['loc'])}: {first['msg']}")


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the response"


def _request(method: str, path: str, subject: str, body: Mapping[str, Any] | None, *, idempotent: bool) -> Request:
    return Request(
        method=method,
        host=MANAGEMENT_HOST,
        path=path,
        subject=subject,
        headers={} if body is None else {"Content-Type": JSON},
        body=None if body is None else json.dumps(body).encode(),
        idempotent=idempotent,
        doubtful_statuses=frozenset() if idempotent else _DOUBTFUL,
        max_response_bytes=_MAX_RESPONSE_BYTES,
        timeout=_TIMEOUT,
        advice=_advice(idempotent),
    )


def _advice(idempotent: bool) -> Advice:
    return advice.MANAGEMENT if idempotent else advice.MANAGEMENT_ONCE


def _encode(query: Mapping[str, Any]) -> str:
    pairs = [(name, _text(item)) for name, value in query.items() for item in _listed(value)]
    return f"?{urlencode(pairs)}" if pairs else ""


def _listed(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
