"""Sync routes: requests to any route of a custom server."""

from collections.abc import Collection, Mapping, Set
from typing import Any, TypedDict
from urllib.parse import urlencode

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.api.http import JSON, Request, checked_body, checked_headers
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.api.target import ModelApis, Target, check_route_target
from airflow_provider_baseten.arguments import check_at_most_one, check_choice, check_flags, is_encodable, shown
from airflow_provider_baseten.exceptions import BasetenInputError

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RouteOptions(TypedDict, total=False):
    """Options of a call to a route of a custom server.

    :param method: HTTP method, by default ``GET``.
    :param json: JSON body; give at most one of ``json`` and ``data``.
    :param data: raw body; a ``str`` is sent in UTF-8. Set the body's ``Content-Type`` in ``headers``.
    :param params: query parameters; a list repeats a parameter for each item, and ``None`` leaves a parameter out.
    :param headers: extra HTTP headers.
    :param allowed_statuses: statuses besides 2xx that are not errors.
    :param idempotent: whether the request is sent again after a failure in which the model may have run; by default
        ``False``. GET, HEAD and OPTIONS requests are sent again in any case.
    """

    method: str
    json: Any
    data: bytes | str | None
    params: Mapping[str, Any] | None
    headers: Mapping[str, str] | None
    allowed_statuses: Collection[int]
    idempotent: bool


def build_sync_route(
    target: Target | ModelApis,
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
    """Build the request to a route of a custom server; see :class:`RouteOptions`.

    :param route: path on the server, for example ``v1/embeddings``.
    :raises BasetenInputError: the route, a parameter or the body is not valid.
    :raises BasetenPayloadTooLargeError: the body is over Baseten's 100 MB.
    """
    check_route_target(target)
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
        host=target.host,
        path=target.sync_path(route) + (f"?{query}" if query else ""),
        subject=f"{verb} sync/{route.removeprefix('/')} of {target}",
        headers=checked,
        body=None if body is None else checked_body(body),
        idempotent=idempotent or verb in _SAFE_METHODS,
        allowed_statuses=statuses,
        advice=route_advice(target),
    )


def route_advice(target: Target | ModelApis) -> Advice:
    """Return the advice for errors of a call to a route."""
    return advice.MODEL_APIS if isinstance(target, ModelApis) else advice.ROUTE


def checked_statuses(statuses: Any) -> frozenset[int]:
    """Check the statuses that are accepted besides 2xx, and return them as a set.

    :raises BasetenInputError: the value is not a list or set of HTTP statuses.
    """
    listed = statuses if isinstance(statuses, list | tuple | range | Set) else [None]
    if any(not isinstance(status, int) or not 100 <= status <= 599 for status in listed):
        raise BasetenInputError(
            f"allowed_statuses={shown(statuses)} is not a list of HTTP statuses, for example [404, 409]."
        )
    return frozenset(listed)


def _query(params: Mapping[str, Any] | None) -> str:
    if not isinstance(params, Mapping | None):
        raise BasetenInputError(f"query_params takes an object of names and values, not a {type(params).__name__}.")
    try:
        return urlencode({k: v for k, v in (params or {}).items() if v is not None}, doseq=True)
    except Exception as error:  # A value's ``__str__`` may raise anything.
        raise BasetenInputError(f"query_params has a value that a URL can't hold ({type(error).__name__}).") from None


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
