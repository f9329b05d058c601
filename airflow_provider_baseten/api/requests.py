"""One frozen request per call, built and validated before anything is sent."""

import math
import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypedDict, get_args
from urllib.parse import urlencode

from airflow_provider_baseten.api import advice, exact_json, msgpack
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.api.model_apis import ModelApis
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_at_most_one, check_choice, check_flags, is_encodable, shown
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenPayloadTooLargeError

ContentType = Literal["application/json", "application/octet-stream"]

JSON: ContentType = "application/json"
MSGPACK: ContentType = "application/octet-stream"

# "100 MB" in the documentation. What is too large in either reading of it is refused here, the rest by the server.
MAX_BODY_BYTES = 100 * 1024 * 1024

# Bytes of an answer that holds no output of a model: a status, an id, what the management API says.
MAX_STATUS_BYTES = 1024 * 1024

# Seconds. Baseten itself answers 504 after 1200; waiting a little longer lets that answer arrive.
READ_TIMEOUT = 1260.0

# Python makes no text of larger integers.
_MOST_OF_INTEGERS = 10**4300

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_HEADERS = frozenset({"authorization", "content-length", "host", "transfer-encoding"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request without its credentials.

    :param subject: what error messages call it, for example ``predict of model abc (environment production)``.
    :param idempotent: whether it may be sent again after a failure in which the model may have run.
    :param allowed_statuses: statuses besides 2xx that are an answer and not an error.
    :param doubtful_statuses: statuses after which it may have been accepted although they usually say that nothing ran.
    :param max_answer_bytes: most bytes of the answer; by default as many as a model may answer.
    :param error_details: whether errors quote what the server says; by default they do.
    :param advice: what errors say about what to do next; by default what holds for a predict.
    """

    method: str
    url: str
    subject: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    idempotent: bool = False
    allowed_statuses: frozenset[int] = frozenset()
    doubtful_statuses: frozenset[int] = frozenset()
    max_answer_bytes: int | None = None
    error_details: bool = True
    advice: Advice = field(default=advice.PREDICT, repr=False)


class PredictOptions(TypedDict, total=False):
    """Options of a predict.

    :param content_type: ``application/json`` (default), or ``application/octet-stream`` for msgpack both ways.
    :param headers: further HTTP headers.
    :param idempotent: whether it may be sent again when the model may have run, and been paid for: after a read
        timeout, a lost connection, 500 and 504. By default it may not.
    """

    content_type: ContentType
    headers: Mapping[str, str] | None
    idempotent: bool


class RouteOptions(TypedDict, total=False):
    """Options of a call to a route of a custom server.

    :param method: HTTP method, by default ``GET``.
    :param json: JSON body; at most one of ``json`` and ``data``.
    :param data: body as it is, text in UTF-8; set its ``Content-Type`` in ``headers``.
    :param params: query parameters; a list repeats its name, ``None`` leaves one out.
    :param headers: further HTTP headers.
    :param allowed_statuses: statuses besides 2xx that count as an answer.
    :param idempotent: as for a predict; GET, HEAD and OPTIONS always are.
    """

    method: str
    json: Any
    data: bytes | str | None
    params: Mapping[str, Any] | None
    headers: Mapping[str, str] | None
    allowed_statuses: Collection[int]
    idempotent: bool


def predict(
    target: Target,
    model_input: Any,
    *,
    content_type: ContentType = JSON,
    headers: Mapping[str, str] | None = None,
    idempotent: bool = False,
) -> Request:
    """Build the request that runs a model, or a chain's ``run_remote``; see :class:`PredictOptions`.

    :param model_input: any JSON value, or any msgpack value (numpy arrays too) with ``application/octet-stream``.
    :raises BasetenInputError: the input has no form in the content type, or a header is not valid.
    :raises BasetenPayloadTooLargeError: the body is over Baseten's 100 MB.
    """
    check_choice("content_type", content_type, get_args(ContentType))
    check_flags(idempotent=idempotent)
    if target.chain_id is not None and not isinstance(model_input, Mapping):
        raise BasetenInputError(
            f"model_input of a chain is an object with the arguments of run_remote, not a {type(model_input).__name__}."
        )
    checked = checked_headers(headers)
    if any(name.lower() == "content-type" for name in checked):
        raise BasetenInputError("headers can't hold Content-Type: give it as content_type.")
    # No Accept: a Truss server asked for exactly application/json gathers a stream instead of sending it.
    return Request(
        method="POST",
        url=target.url("predict"),
        subject=f"predict of {target}",
        headers=checked | {"Content-Type": content_type},
        body=_sized(msgpack.pack(model_input) if content_type == MSGPACK else encode_json("model_input", model_input)),
        idempotent=idempotent,
    )


def sync_route(
    target: Target,
    route: str,
    *,
    method: str = "GET",
    json: Any = None,
    data: bytes | str | None = None,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    allowed_statuses: Collection[int] = (),
    idempotent: bool = False,
) -> Request:
    """Build the request that reaches a route of a custom server; see :class:`RouteOptions`.

    :param route: path on the server, for example ``v1/embeddings``.
    :raises BasetenInputError: the route, a parameter or the body is not valid.
    :raises BasetenPayloadTooLargeError: the body is over Baseten's 100 MB.
    """
    verb = method.upper() if isinstance(method, str) else method
    check_choice("method", verb, _METHODS)
    check_flags(idempotent=idempotent)
    check_at_most_one(json=json, data=data)
    statuses = checked_statuses(allowed_statuses)
    body, content_type = _route_body(json, data)
    checked = checked_headers(headers)
    if body is not None and not any(name.lower() == "content-type" for name in checked):
        checked["Content-Type"] = content_type
    query = _query(params)
    return Request(
        method=verb,
        url=target.sync_url(route) + (f"?{query}" if query else ""),
        subject=f"{verb} sync/{route.removeprefix('/')} of {target}",
        headers=checked,
        body=None if body is None else _sized(body),
        idempotent=idempotent or verb in _SAFE_METHODS,
        allowed_statuses=statuses,
        advice=route_advice(target),
    )


def route_advice(target: Target) -> Advice:
    """Return what errors of a call of a route say about what to do next."""
    return advice.MODEL_APIS if isinstance(target, ModelApis) else advice.ROUTE


def checked_statuses(statuses: Any) -> frozenset[int]:
    """Return the statuses besides 2xx that count as an answer.

    :raises BasetenInputError: they are not a list or set of HTTP statuses.
    """
    listed = statuses if isinstance(statuses, list | tuple | range | Set) else [None]
    if any(not isinstance(status, int) or not 100 <= status <= 599 for status in listed):
        raise BasetenInputError(
            f"allowed_statuses={shown(statuses)} is no list of HTTP statuses, for example [404, 409]."
        )
    return frozenset(listed)


def _query(params: Mapping[str, Any] | None) -> str:
    if not isinstance(params, Mapping | None):
        raise BasetenInputError(f"query_params takes an object of names and values, not a {type(params).__name__}.")
    try:
        return urlencode({k: v for k, v in (params or {}).items() if v is not None}, doseq=True)
    except Exception as error:  # Code of a value's class.
        raise BasetenInputError(f"query_params has a value that a URL can't hold ({type(error).__name__}).") from None


def management(base_url: str, path: str) -> Request:
    """Build a GET of the management API.

    :param base_url: for example ``https://api.baseten.co``.
    :param path: path from ``/v1`` on.
    """
    return Request(
        method="GET",
        url=f"{base_url}{path}",
        subject=f"GET {path} of the management API",
        idempotent=True,
        max_answer_bytes=MAX_STATUS_BYTES,
        advice=advice.MANAGEMENT,
    )


def encode_json(name: str, value: Any) -> bytes:
    """Encode a value as standard JSON; integers of any size and ``Decimal`` keep every digit.

    :param name: what the error calls the value.
    :raises BasetenInputError: names the place of the first NaN, infinity or value that JSON has no form for.
    """
    try:
        return exact_json.encode(value)
    except (TypeError, ValueError, RecursionError):
        place, trouble = next(_not_json(name, value), (name, "is nested too deeply or holds itself"))
        raise BasetenInputError(f"{place} {trouble}; JSON can't carry that.") from None


def _not_json(place: str, value: Any, depth: int = 0) -> Any:  # noqa: PLR0912 - one case for each type.
    """Yield the places of a value that JSON can't carry, and what is wrong there."""
    if depth > 100:
        return
    match value:
        case float() if not math.isfinite(value):
            yield place, f"is {value}"
        case Decimal() if not value.is_finite():
            yield place, f"is {value}"
        case str() if not is_encodable(value):
            yield place, "is text with a lone surrogate"
        case int() if not isinstance(value, bool) and abs(value) >= _MOST_OF_INTEGERS:
            yield place, "is a whole number of more than 4,300 digits"
        case None | bool() | int() | float() | str() | Decimal():
            return
        case dict():
            for key, item in value.items():
                if not isinstance(key, str | int | float | bool | None):
                    yield place, f"has a key of type {type(key).__name__}"
                elif isinstance(key, str) and not is_encodable(key):
                    yield place, "has a key with a lone surrogate or a byte that is not UTF-8"
                yield from _not_json(f"{place}[{shown(key)}]", item, depth + 1)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _not_json(f"{place}[{index}]", item, depth + 1)
        case _:
            yield place, f"is of type {type(value).__name__}"


def _route_body(json: Any, data: bytes | str | None) -> tuple[bytes | None, str]:
    match data:
        case None:
            return (None if json is None else encode_json("json", json)), JSON
        case bytes():
            return data, "application/octet-stream"
        case str() if is_encodable(data):
            return data.encode(), "text/plain; charset=utf-8"
        case str():
            raise BasetenInputError("data is text with a lone surrogate, which UTF-8 does not have.")
    raise BasetenInputError(f"data takes bytes or text, not {type(data).__name__}; give JSON values as json.")


def _sized(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise BasetenPayloadTooLargeError(
            f"The request body has {len(body):,} bytes, Baseten takes at most 100 MB; pass a reference to the data."
        )
    return body


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of the headers that a caller adds.

    :raises BasetenInputError: one is not valid, or is set by the connection or the request.
    """
    if not isinstance(headers, Mapping | None):
        raise BasetenInputError(f"headers takes an object of names and values, not a {type(headers).__name__}.")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise BasetenInputError(f"headers has the name {shown(name)}, which is not a valid HTTP header name.")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise BasetenInputError(f"headers[{name!r}] is not a one-line text in Latin-1, as HTTP headers must be.")
        if name.lower() in _OWN_HEADERS:
            raise BasetenInputError(f"headers can't hold {name}: the connection and the request set it.")
    return dict(headers or {})
