"""What came back: an output, or the error that says what to do."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from airflow_provider_baseten.api import exact_json, msgpack
from airflow_provider_baseten.api.charset import decoded, encoding_of
from airflow_provider_baseten.api.quotes import without_quotes
from airflow_provider_baseten.api.requests import JSON, MSGPACK, Request
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenRateLimitError,
    BasetenResponseError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.large_body import LargeBody

_EXCERPT_CHARACTERS = 500

# Seconds; a server that asks for a longer wait than a day has got it wrong.
LONGEST_RETRY_AFTER = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP answer, read whole.

    :param headers: by lower-case name.
    :param body: empty if the body is large.
    :param large: the body of an answer of more than a few megabytes.
    """

    request: Request = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    large: LargeBody | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.large is None else self.large.size

    def read(self) -> bytes:
        """Return the body, in memory."""
        return self.body if self.large is None else self.large.read()

    def in_memory(self) -> "Response":
        """Return the same answer with its body in ``body``, however large it is."""
        return self if self.large is None else replace(self, body=self.large.read(), large=None)

    @property
    def request_id(self) -> str | None:
        """Baseten's id of the request."""
        return self.headers.get("x-baseten-request-id")

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, lower-case; empty if there is none."""
        return _media_type(self.headers.get("content-type", ""))

    @property
    def is_json(self) -> bool:
        """Whether the Content-Type says that the body is JSON."""
        media_type = self.media_type
        return media_type == JSON or media_type.endswith("+json")

    @property
    def is_msgpack(self) -> bool:
        """Whether the body is msgpack: Truss answers a msgpack request so."""
        return self.media_type == MSGPACK and self.request.headers.get("Content-Type") == MSGPACK

    @property
    def is_text(self) -> bool:
        """Whether the Content-Type says that the body is text, or leaves it open."""
        return self.media_type.startswith("text/") or self.media_type in {MSGPACK, ""}

    def json_body(self) -> bytes:
        """Return the body of a JSON answer in UTF-8.

        :raises UnicodeError: it is not in the charset that it names.
        """
        # JSON is UTF-8 whatever the Content-Type says, except where that can't be.
        body = self.read()
        encoding = encoding_of(body[:3], self.headers.get("content-type", ""))
        return body if encoding is None or _is_utf8(body) else body.decode(encoding).encode()

    def output(self) -> Any:
        """Decode the body by its Content-Type.

        JSON to its value (a decimal that no float holds exactly to ``Decimal``), msgpack to Python and numpy values,
        text and streamed text to ``str``, everything else to ``bytes``, no body to ``None``.

        :raises BasetenResponseError: the body is not what the Content-Type says.
        """
        body = self.read()
        if not body:
            return None
        try:
            if self.is_json:
                return exact_json.decode(self.json_body())
            if self.is_msgpack:
                return _unpacked(body)
        except msgpack.RefusedError as error:
            raise BasetenResponseError(
                f"{self.request.subject} answered {self.status} with msgpack that is not accepted ({error}); change "
                f"what the model returns{id_note(self.request_id)}.",
                status=self.status,
                request_id=self.request_id,
                may_have_run=True,
            ) from None
        except ValueError as error:
            raise BasetenResponseError(
                f"{self.request.subject} answered {self.status} with {_line(self.media_type, 100)}, but the body is "
                f"not that ({type(error).__name__}); look at what the server sends{id_note(self.request_id)}.",
                status=self.status,
                request_id=self.request_id,
                may_have_run=True,
            ) from None
        return self._text_or_bytes(body)

    def _text_or_bytes(self, body: bytes) -> str | bytes:
        text = decoded(body, self.headers.get("content-type", "")) if self.is_text else None
        return body if text is None else text


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unpacked(body: bytes) -> Any:
    # A model that returns bytes answers them unpacked under the same Content-Type: what is no msgpack at all.
    try:
        return msgpack.unpack(body)
    except msgpack.RefusedError:
        raise
    except ValueError:
        return body


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_answer(request: Request, status: int) -> bool:
    """Tell whether a status stands for an answer, and not for an error."""
    return 200 <= status < 300 or status in request.allowed_statuses


def error_for(response: Response) -> BasetenError | None:
    """Return the error that an answer stands for, ``None`` if it is an output."""
    status, request = response.status, response.request
    if is_answer(request, status):
        return None
    body = _json_or_none(response)
    kind, advice, retryable, may_have_run = _classify(response)
    text = quotable(_server_text(body, response), request)
    return kind(
        f"{request.subject} answered {status}{f': {text}' if text else ''}. {advice}{id_note(response.request_id)}.",
        status=status,
        error_code=_text_or_none(body.get("error_code")) if isinstance(body, dict) else None,
        request_id=response.request_id,
        retry_after=_retry_after(response.headers.get("retry-after"), body, time.time()),
        retryable=retryable,
        may_have_run=may_have_run or status in request.doubtful_statuses,
    )


def model_output(response: Response) -> Any:
    """Decode a model's output, and refuse a page of HTML or nothing in its place.

    :raises BasetenResponseError: the body is not what the Content-Type says, or something else than a model answered.
    """
    refuse_page(response)
    refuse_empty(response)
    return response.output()


def refuse_empty(response: Response) -> None:
    """Refuse a 200 without a body where JSON belongs: a model that returns nothing answers ``null``.

    :raises BasetenResponseError: there is no body.
    """
    if response.status == 200 and response.size == 0 and (response.is_json or not response.media_type):
        raise BasetenResponseError(
            f"{response.request.subject} answered 200 without a body, not with a model's output. Look for a proxy on "
            f"the way, and at what the server sends{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        )


def refuse_page(response: Response) -> None:
    """Refuse a page of HTML in place of a model's output.

    :raises BasetenResponseError: something else than a model answered.
    """
    if response.media_type == "text/html":
        raise BasetenResponseError(
            f"{response.request.subject} answered {response.status} with an HTML page, not with a model's output. Look "
            f"for a proxy or login page on the way, and at the Host (the Base URL) of the "
            f"connection{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
        )


def _origin(headers: Mapping[str, str]) -> str:
    """Tell who answered: the ``gateway``, the model ``server``, or the ``model``'s own code.

    A Truss server marks its answers with error source 04, and what the model's code raised with error code 600.
    """
    if headers.get("x-baseten-error-source") != "04":
        return "gateway"
    return "model" if headers.get("x-baseten-error-code") == "600" else "server"


def _classify(response: Response) -> tuple[type[BasetenError], str, bool, bool]:
    """Return the error's type, what to do, whether a retry can help and whether the model may have run."""
    status, origin, advice = response.status, _origin(response.headers), response.request.advice
    what_to_do = advice.after(status)
    may_run = bool(advice.may_run)
    if status in _BY_STATUS:
        return _BY_STATUS[status], what_to_do or "", status in (408, 429, 502, 503, 529), False
    if origin == "model" or (origin == "server" and status >= 500):
        return BasetenModelError, "The model's own code raised this: read its logs", status >= 500, True
    if status in _BY_GATEWAY_STATUS:
        return _BY_GATEWAY_STATUS[status], what_to_do or "", status >= 500, status >= 500 and may_run
    if status >= 500:
        return BasetenUnavailableError, "A later attempt may succeed", True, may_run
    if status < 400:
        return (
            BasetenResponseError,
            "Redirects are not followed: check the Host (the Base URL) of the connection",
            False,
            False,
        )
    return BasetenInputError, "Check the request", False, False


# These mean the same whoever says them.
_BY_STATUS: dict[int, type[BasetenError]] = {
    400: BasetenInputError,
    408: BasetenTimeoutError,
    413: BasetenPayloadTooLargeError,
    422: BasetenInputError,
    429: BasetenRateLimitError,
    502: BasetenUnavailableError,
    503: BasetenUnavailableError,
    529: BasetenRateLimitError,
}

_BY_GATEWAY_STATUS: dict[int, type[BasetenError]] = {
    401: BasetenAuthError,
    402: BasetenAuthError,
    403: BasetenAuthError,
    404: BasetenNotFoundError,
    500: BasetenUnavailableError,
    504: BasetenTimeoutError,
}


def _json_or_none(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def _server_text(body: Any, response: Response) -> str:
    """Return the first of the server's own words."""
    if isinstance(body, dict):
        error = next((body[key] for key in ("error", "detail", "message") if body.get(key)), "")
        if isinstance(error, dict) and isinstance(error.get("exception_message"), str):
            error = f"{_text_or_none(error.get('exception_cls_name')) or 'Exception'}: {error['exception_message']}"
        text = error if isinstance(error, str) else _dumped(error)
    elif response.media_type == "text/html":
        text = "(an HTML page)"
    else:
        head = response.body[: 4 * _EXCERPT_CHARACTERS]
        text = decoded(head, response.headers.get("content-type", "")) or head.decode(errors="replace")
    return text[: 4 * _EXCERPT_CHARACTERS].rstrip(". \n")


def quotable(text: str, request: Request) -> str:
    """Return what an error may quote of a server's text: one bounded line, without what it repeats of the input."""
    if not request.error_details:
        return ""
    return _line(without_quotes(text[: 2 * _EXCERPT_CHARACTERS], request.body), _EXCERPT_CHARACTERS)


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _retry_after(header: str | None, body: Any, now: float) -> float | None:
    """Return how long the server asks to wait: not less than 0 s, not more than a day, ``None`` if it says nothing."""
    for value in (header, body.get("retry_after") if isinstance(body, dict) else None):
        if (seconds := _seconds(value, now)) is not None:
            return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
    return None


def _seconds(value: Any, now: float) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        seconds = LONGEST_RETRY_AFTER if value > 0 else 0.0  # type: ignore[operator]
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(value)).timestamp() - now
        except (ValueError, OverflowError, TypeError, IndexError, OSError):
            return None
    return seconds if math.isfinite(seconds) else None


def _text_or_none(value: Any) -> str | None:
    return _line(value, 100) if isinstance(value, str) else None


def _line(text: str, most: int) -> str:
    """Return a text as one line of printable characters, cut where it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}..."


def id_note(request_id: str | None) -> str:
    """Return the end of a message that names the request."""
    return f" (request id {_line(request_id, 100)})" if request_id else ""
