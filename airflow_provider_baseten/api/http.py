"""HTTP requests as plain values, checked before they are sent."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenPayloadTooLargeError

ContentType = Literal["application/json", "application/octet-stream"]


# Label that stands for the host of the management API in a request.
MANAGEMENT_HOST = "management"

JSON: ContentType = "application/json"


MSGPACK: ContentType = "application/octet-stream"


# Bytes. The limit that Baseten documents, "100 MB", may mean 95 or 100 MiB. So only a body above 100 MiB is certainly
# too large.
MAX_BODY_BYTES = 100 * 1024 * 1024


# Bytes. Limit for responses without a model's output, which hold a status, an id or an object of the management API.
MAX_STATUS_BYTES = 1024 * 1024


# Seconds. Baseten's gateway responds with 504 after 1200; the extra minute lets that response arrive.
READ_TIMEOUT = 1260.0


_OWN_HEADERS = frozenset({"authorization", "content-length", "host", "transfer-encoding"})


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request without credentials and base URL, which the client adds.

    :param method: HTTP method.
    :param host: label of the host: ``model-<id>``, ``chain-<id>``, ``inference`` (Model APIs) or ``management``.
    :param path: path and query on this host.
    :param subject: name of the call in error messages, for example ``predict of model abc (environment production)``.
    :param idempotent: whether the request may be sent again after a failure in which the model may have run.
    :param allowed_statuses: statuses besides 2xx that are not errors.
    :param doubtful_statuses: error statuses after which Baseten may still have accepted this request. For other
        requests such a status, for example 502, means that nothing ran.
    :param max_response_bytes: largest body of the response in bytes; by default the limit for a model's output.
    :param timeout: seconds to wait for the response; a shorter timeout of the client takes precedence.
    :param private_body: part of the body that no error message may quote; by default all of it.
    :param error_details: whether errors quote the server's error message; by default they do.
    :param advice: what error messages advise to do next; by default the advice for a predict.
    """

    method: str
    host: str
    path: str
    subject: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    private_body: bytes | None = field(default=None, repr=False)
    idempotent: bool = False
    allowed_statuses: frozenset[int] = frozenset()
    doubtful_statuses: frozenset[int] = frozenset()
    max_response_bytes: int | None = None
    timeout: float = math.inf
    error_details: bool = True
    advice: Advice = field(default=advice.PREDICT, repr=False)


def checked_body(body: bytes) -> bytes:
    """Return a request body if its size is allowed.

    :raises BasetenPayloadTooLargeError: the body is larger than Baseten accepts.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BasetenPayloadTooLargeError(
            f"The request body has {len(body):,} bytes, Baseten takes at most 100 MB; pass a reference to the data."
        )
    return body


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Check the caller's headers, and return a copy of them.

    :raises BasetenInputError: a header is not valid, or is one that the connection or the request itself sets.
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
