"""Redaction of the model's input in a server's error messages, so that the input is not logged with them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_baseten.api import exact_json

_REPLACEMENT = "[input]"

# A quoted piece of a text has at least _SHORTEST_PIECE characters. A text that is quoted as a whole has at least
# _SHORTEST_WHOLE characters. A shorter match is taken for a coincidence.
_SHORTEST_PIECE = 10
_SHORTEST_WHOLE = 4

# In a text of more than _LONG_TEXT characters, such as an image in Base64, only the first and the last
# _END_OF_LONG_TEXT characters are searched. Servers do not quote the middle of a long text.
_LONG_TEXT = 16_384
_END_OF_LONG_TEXT = 4_096

# If the texts of a request have more characters than this in total, comparing them with an error message would take
# too long. The whole message is then left out.
_MAX_SEARCHED = 1 << 20

# Words of the chat protocol. They occur in error messages anyway, so they do not count as quotes of the input.
_PROTOCOL = frozenset(
    {"user", "assistant", "system", "tool", "developer", "function", "text", "string", "object", "number", "true"}
)


def redact_input(text: str, body: bytes | None) -> str:
    """Return a server's text in which quotes from the request are replaced by ``[input]``.

    A quote is ten or more characters in a row from a string of the request, a whole string of four or more characters,
    or a number of six or more characters. The server may quote the characters as they are, or with the escapes of JSON
    or Python; both are replaced. Names of fields, the name of the model and words of the chat protocol are not
    redacted.

    :param text: a few hundred characters; the search takes longer for a longer text.
    :param body: body of the request. A body that is not JSON is treated as one string.
    """
    texts = [*_texts(body)] if body else []
    if sum(map(len, texts)) > _MAX_SEARCHED:
        return "(the server's message is left out: the request is too large to redact quotes from it)" if text else text
    searched = "\0".join(form for value in texts for form in _escaped_forms(value))
    wholes = {form for value in texts for form in _escaped_forms(value) if len(form) >= _SHORTEST_WHOLE} - _PROTOCOL
    return "".join(_pieces(text, searched, wholes))


def _pieces(text: str, searched: str, wholes: set[str]) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _end_of_quote(text, start, searched, wholes)
        yield _REPLACEMENT if end > start else text[start]
        start = max(end, start + 1)


def _end_of_quote(text: str, start: int, searched: str, wholes: set[str]) -> int:
    """Return the end of the quote that begins at ``start``, or ``start`` if no quote begins at this position."""
    end = start + _SHORTEST_PIECE
    if end <= len(text) and text[start:end] in searched:
        while end < len(text) and text[start : end + 1] in searched:
            end += 1
        return end
    if not _is_inside_of_word(text, start):
        for end in range(min(start + _SHORTEST_PIECE, len(text)), start + _SHORTEST_WHOLE - 1, -1):
            if text[start:end] in wholes and not _is_inside_of_word(text, end):
                return end
    return start


def _is_inside_of_word(text: str, index: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(0, index - 1) : index + 1]) is not None


def _texts(body: bytes) -> Iterator[str]:
    try:
        value = exact_json.decode(body)
    except ValueError:
        value = body.decode(errors="replace")
    for text in _texts_of(value):
        yield text if len(text) <= _LONG_TEXT else f"{text[:_END_OF_LONG_TEXT]}\0{text[-_END_OF_LONG_TEXT:]}"


def _texts_of(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                yield text
            case dict() as members:
                left += [item for name, item in members.items() if not (name == "model" and isinstance(item, str))]
            case list() as items:
                left += items
            case bool() | None:
                pass
            case number:
                if len(digits := str(number)) > 5:
                    yield digits


def _escaped_forms(text: str) -> set[str]:
    in_json = (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
    return {text, repr(text)[1:-1], ascii(text)[1:-1], *in_json}
