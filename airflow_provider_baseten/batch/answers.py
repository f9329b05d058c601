"""JSON values of answers: the text as the server wrote it, and the value that it stands for."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.responses import Response, model_output

# Line breaks are allowed between the values of JSON, and are never part of a text.
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")

# Python reads no larger numbers.
_MOST_INT_DIGITS = 4300

_NO_CONTENT = 204

_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class UnusableAnswerError(Exception):
    """The answer is not an output, or its part for one row is not. Never leaves the engine.

    :param trouble: words that follow "the answer", for example ``is empty``.
    :param part: the row's part of the answer, where it has one.
    """

    def __init__(self, trouble: str, part: "Json | None" = None) -> None:
        super().__init__(trouble)
        self.part = part


class Json:
    """A JSON value.

    :param text: as the server wrote it, in UTF-8 and without line breaks; ``None`` if it is to be made of the value.
    :param value: the value; numbers may be rounded if there is a text.
    """

    __slots__ = ("text", "value")

    def __init__(self, text: bytes | None, value: Any) -> None:
        self.text = text
        self.value = value

    @property
    def exact(self) -> Any:
        """The value with every digit of its numbers."""
        if self.text is not None and exact_json.has_long_number(self.text):
            return exact_json.decode(self.text)
        return self.value


def read_answer(response: Response, *, as_json: bool) -> Json:
    """Return what a server has answered.

    :param as_json: whether it has to be JSON, whatever the Content-Type says.
    :raises UnusableAnswerError: it is no JSON value.
    :raises BasetenResponseError: the body is not what the Content-Type says.
    """
    body = response.body
    if body and response.is_json:
        return _read_json(response)
    media_type = response.media_type
    if body and as_json and media_type != "text/html":
        return _read_json(response)
    if not body and response.status != _NO_CONTENT and not media_type.startswith("text/"):
        raise UnusableAnswerError("is empty")
    value = model_output(response)
    if isinstance(value, bytes):
        raise UnusableAnswerError(f"is {media_type or 'binary data'}, which has no form in JSON")
    return Json(None, value)


def _read_json(response: Response) -> Json:
    body = response.body
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_odd_json(response)
    return Json(body.translate(_LINE_BREAKS).strip() if b"\n" in body or b"\r" in body else body, value)


def _read_odd_json(response: Response) -> Json:
    """Read JSON that orjson refuses: numbers beyond a float, lone surrogates, other encodings than UTF-8, and NaN.

    With NaN, which standard JSON does not have, there is a value and no text.
    """
    constants: list[str] = []
    try:
        body = response.json_body()
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        json.loads(text, parse_int=_check_digits, parse_float=str, parse_constant=constants.append)
        standard = text.encode("utf-8", "backslashreplace").translate(_LINE_BREAKS).strip()
        value = exact_json.decode(standard)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(f"is not JSON ({type(error).__name__})") from None
    return Json(None if constants else standard, value)


def _check_digits(number: str) -> None:
    if len(number) > _MOST_INT_DIGITS:
        raise UnusableAnswerError(f"holds a whole number of {len(number):,} digits")


def parts_of(
    answer: Json, texts: Callable[[bytes], Iterable[msgspec.Raw]], values: Callable[[Any], Iterable[Any]]
) -> list[Json]:
    """Return parts of an answer, each with its own text.

    :param texts: finds the parts in the text.
    :param values: finds the same parts in the value.
    """
    try:
        found = [bytes(text) for text in texts(answer.text or b"")]
    except msgspec.DecodeError:  # There is no text, or one with lone surrogates, which the library refuses.
        return [Json(None, value) for value in values(answer.exact)]
    return [Json(text, value) for text, value in zip(found, values(answer.value), strict=True)]


def items_of(answer: Json) -> list[Json]:
    """Return the items of a list."""
    return parts_of(answer, _LIST.decode, iter)
