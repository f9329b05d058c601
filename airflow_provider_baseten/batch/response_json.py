"""JSON of responses: the text as the server wrote it, and its value."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.responses import Response, decode_model_output

# JSON has line breaks only outside strings. A space means the same there, so it can replace a line break.
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")

# Largest number of digits of an integer that Python reads.
_MAX_INT_DIGITS = 4300

_NO_CONTENT = 204

_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class UnusableResponseError(Exception):
    """A response, or the part of the response for one row, can't be used as an output.

    The row is then recorded as failed.

    :param problem: the rest of a sentence that begins with "The response", for example ``is empty``.
    :param part: the part of the response for the row, if there is such a part.
    """

    def __init__(self, problem: str, part: "JsonValue | None" = None) -> None:
        super().__init__(problem)
        self.part = part


class CallableError(UnusableResponseError):
    """A callable of the job can't use a response.

    The message of this error quotes nothing from the server, so the message is not redacted.
    """


class JsonValue:
    """A JSON value.

    :param text: the JSON text that the server wrote, in UTF-8 and without line breaks; ``None`` if there is no such
        text, for example because the response is plain text.
    :param value: the decoded value. If ``text`` is set, numbers with many digits may be rounded in ``value``, because
        ``text`` keeps every digit.
    """

    __slots__ = ("text", "value")

    def __init__(self, text: bytes | None, value: Any) -> None:
        self.text = text
        self.value = value

    @property
    def exact(self) -> Any:
        """The value, decoded so that no number is rounded."""
        if self.text is not None and exact_json.has_long_number(self.text):
            return exact_json.decode(self.text)
        return self.value


def read_response(response: Response, *, as_json: bool) -> JsonValue:
    """Return the value in the body of a response.

    :param as_json: whether the body must be JSON, regardless of its Content-Type.
    :raises UnusableResponseError: the body is empty, is binary data, or should be JSON and is not.
    :raises BasetenResponseError: the body does not match its Content-Type.
    """
    body = response.body
    if body and response.is_json:
        return _read_json(response)
    media_type = response.media_type
    if body and as_json and media_type != "text/html":
        return _read_json(response)
    if not body and response.status != _NO_CONTENT and not media_type.startswith("text/"):
        raise UnusableResponseError("is empty")
    value = decode_model_output(response)
    if isinstance(value, bytes):
        raise UnusableResponseError(f"is {media_type or 'binary data'}, which has no form in JSON")
    return JsonValue(None, value)


def _read_json(response: Response) -> JsonValue:
    body = response.body
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_odd_json(response)
    return JsonValue(body.translate(_LINE_BREAKS).strip() if b"\n" in body or b"\r" in body else body, value)


def _read_odd_json(response: Response) -> JsonValue:
    """Read JSON that orjson refuses: numbers too large for a float, lone surrogates, encodings other than UTF-8, NaN.

    A response with NaN or an infinity is not standard JSON, so its text can't be copied to the output. For such a
    response, the ``text`` of the result is ``None``, and only ``value`` is set.
    """
    constants: list[str] = []
    try:
        body = response.json_body()
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        json.loads(text, parse_int=_check_digits, parse_float=str, parse_constant=constants.append)
        standard = text.encode("utf-8", "backslashreplace").translate(_LINE_BREAKS).strip()
        value = exact_json.decode(standard)
    except (ValueError, RecursionError) as error:
        raise UnusableResponseError(f"is not JSON ({type(error).__name__})") from None
    return JsonValue(None if constants else standard, value)


def _check_digits(number: str) -> None:
    if len(number) > _MAX_INT_DIGITS:
        raise UnusableResponseError(f"holds a whole number of {len(number):,} digits")


def parts_of(
    response: JsonValue, texts: Callable[[bytes], Iterable[msgspec.Raw]], values: Callable[[Any], Iterable[Any]]
) -> list[JsonValue]:
    """Return the parts of a response, each with its value and, if possible, its JSON text.

    The parts have no text if the response has none, or if msgspec refuses the text of the response, for example
    because of lone surrogates.

    :param texts: function that takes the text of the response and returns the texts of its parts.
    :param values: function that takes the value of the response and returns the values of its parts, in the same order.
    """
    try:
        found = [bytes(text) for text in texts(response.text or b"")]
    except msgspec.DecodeError:
        # The response has no text, or msgspec refuses the text because it contains lone surrogates.
        return [JsonValue(None, value) for value in values(response.exact)]
    return [JsonValue(text, value) for text, value in zip(found, values(response.value), strict=True)]


def items_of(response: JsonValue) -> list[JsonValue]:
    """Return the items of a response that is a list."""
    return parts_of(response, _LIST.decode, iter)
