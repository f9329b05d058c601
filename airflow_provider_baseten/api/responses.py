"""HTTP responses, and how they are decoded into the output of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from airflow_provider_baseten.api import exact_json, truss_msgpack
from airflow_provider_baseten.api.charset import decode_text, encoding_of
from airflow_provider_baseten.api.excerpts import id_note, one_line
from airflow_provider_baseten.api.http import JSON, MSGPACK, Request
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.exceptions import (
    BasetenResponseError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response that was read to its end.

    :param headers: headers by lower-case name.
    :param body: the body; empty if the body is in ``large``.
    :param large: the body if it has more than a few megabytes, else ``None``.
    """

    request: Request = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    large: LargeBody | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Size of the body in bytes."""
        return len(self.body) if self.large is None else self.large.size

    def read(self) -> bytes:
        """Return the body, in memory."""
        return self.body if self.large is None else self.large.read()

    def in_memory(self) -> "Response":
        """Return the same response with its body in memory, however large it is."""
        return self if self.large is None else replace(self, body=self.large.read(), large=None)

    @property
    def request_id(self) -> str | None:
        """Baseten's id of the request."""
        return self.headers.get("x-baseten-request-id")

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case, without parameters; empty if there is none."""
        return _media_type(self.headers.get("content-type", ""))

    @property
    def is_json(self) -> bool:
        """Whether the Content-Type is JSON."""
        media_type = self.media_type
        return media_type == JSON or media_type.endswith("+json")

    @property
    def is_msgpack(self) -> bool:
        """Whether the body is msgpack, which Truss sends in response to a msgpack request."""
        return self.media_type == MSGPACK and self.request.headers.get("Content-Type") == MSGPACK

    @property
    def is_text(self) -> bool:
        """Whether the body may be text: the Content-Type is text, missing or ``application/octet-stream``.

        Truss sends ``application/octet-stream`` for texts as well as for other bytes.
        """
        return self.media_type.startswith("text/") or self.media_type in {MSGPACK, ""}

    def json_body(self) -> bytes:
        """Return the body of a JSON response, encoded in UTF-8.

        :raises UnicodeError: the body is not in the charset of its Content-Type.
        """
        # The JSON standard allows UTF-8 only. So a body that is valid UTF-8 is read as UTF-8, even if the headers name
        # another charset. The charset in the headers is used for a body that is not valid UTF-8.
        body = self.read()
        encoding = encoding_of(body[:3], self.headers.get("content-type", ""))
        return body if encoding is None or _is_utf8(body) else body.decode(encoding).encode()

    def output(self) -> Any:
        """Decode the body by its Content-Type.

        JSON becomes Python values; a decimal becomes a ``float``, or a ``Decimal`` if a float would lose digits.
        Msgpack becomes Python and numpy values. Text, streamed or not, becomes ``str``. An empty body becomes ``None``,
        and any other body ``bytes``.

        :raises BasetenResponseError: the body does not match its Content-Type.
        """
        body = self.read()
        if not body:
            return None
        try:
            if self.is_json:
                return exact_json.decode(self.json_body())
            if self.is_msgpack:
                return _unpack_or_bytes(body)
        except truss_msgpack.RefusedError as error:
            raise BasetenResponseError(
                f"{self.request.subject} returned {self.status} with msgpack that is not accepted ({error}); change "
                f"what the model returns{id_note(self.request_id)}.",
                status=self.status,
                request_id=self.request_id,
                may_have_run=True,
            ) from None
        except ValueError as error:
            raise BasetenResponseError(
                f"{self.request.subject} returned {self.status} with {one_line(self.media_type, 100)}, but the body is "
                f"not that ({type(error).__name__}); look at what the server sends{id_note(self.request_id)}.",
                status=self.status,
                request_id=self.request_id,
                may_have_run=True,
            ) from None
        return self._text_or_bytes(body)

    def _text_or_bytes(self, body: bytes) -> str | bytes:
        text = decode_text(body, self.headers.get("content-type", "")) if self.is_text else None
        return body if text is None else text


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unpack_or_bytes(body: bytes) -> Any:
    # Truss has one Content-Type, application/octet-stream, for msgpack and for bytes that the model returned. It sends
    # such bytes unchanged, so a body that is not msgpack is returned as bytes. Only msgpack with a part that is not
    # accepted raises an error.
    try:
        return truss_msgpack.unpack(body)
    except truss_msgpack.RefusedError:
        raise
    except ValueError:
        return body


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_success(request: Request, status: int) -> bool:
    """Return whether a status is a success for a request: 2xx, or a status that the request allows."""
    return 200 <= status < 300 or status in request.allowed_statuses


def decode_model_output(response: Response) -> Any:
    """Check that a response is neither an HTML page nor empty, and decode it as a model's output.

    :raises BasetenResponseError: the body does not match its Content-Type, or the response is not from a model.
    """
    refuse_page(response)
    refuse_empty(response)
    return response.output()


def decode_object(response: Response, *members: str) -> dict[str, Any]:
    """Decode a response that must be a JSON object, such as a status or a response of the management API.

    :param members: names of members that the object must have.
    :raises BasetenResponseError: the response is something else.
    """
    output = response.output()
    if not isinstance(output, dict) or not output.keys() >= set(members):
        raise not_as_documented(response)
    return output


def decode_list(response: Response, name: str) -> list[dict[str, Any]]:
    """Decode a response that must be a JSON object with a list of objects.

    :param name: name of the member that holds the list.
    :raises BasetenResponseError: the response is something else.
    """
    items = decode_object(response).get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise not_as_documented(response)
    return items


def not_as_documented(response: Response, detail: str = "") -> BasetenResponseError:
    """Return the error for a response that is not the JSON that Baseten documents.

    :param detail: what differs, without values of the response.
    """
    differs = f" ({detail})" if detail else ""
    return BasetenResponseError(
        f"{response.request.subject} returned {response.status} with something other than the JSON that Baseten "
        f"documents{differs}: check the Host (the Base URL) and the management_url of the connection, and whether a "
        "newer version of this package knows the response.",
        status=response.status,
        request_id=response.request_id,
        may_have_run=not response.request.idempotent,
    )


def refuse_empty(response: Response) -> None:
    """Refuse a JSON response with an empty body.

    Such a response is not from a model: if a model's code returns nothing, the body is ``null``. A response without a
    Content-Type is treated as JSON.

    :raises BasetenResponseError: the status is 200, there is no body, and the Content-Type is JSON or missing.
    """
    if response.status == 200 and response.size == 0 and (response.is_json or not response.media_type):
        raise BasetenResponseError(
            f"{response.request.subject} returned 200 without a body instead of a model's output. Check for a proxy "
            f"in between, and what the server sends{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        )


def refuse_page(response: Response) -> None:
    """Refuse an HTML page, for example a login page or a proxy's page, that came instead of a model's output.

    :raises BasetenResponseError: the response is an HTML page.
    """
    if response.media_type == "text/html":
        raise BasetenResponseError(
            f"{response.request.subject} returned {response.status} with an HTML page instead of a model's output. "
            f"Check for a proxy or login page in between, and the Host (the Base URL) of the "
            f"connection{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
        )
