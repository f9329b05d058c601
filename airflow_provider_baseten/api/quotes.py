"""Quotes of the input in what a server says: errors go to logs, inputs must not."""

import json
import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_baseten.api import exact_json

_MARK = "[input]"

# Characters. A shorter piece of a text is a coincidence, unless it is the whole text.
_SHORTEST_PIECE = 10
_SHORTEST_WHOLE = 4

# Of a long text, such as a picture, servers quote the beginning or the end.
_LONG_TEXT = 16_384
_END_OF_LONG_TEXT = 4_096

# More characters than this are not searched: it would take longer than the error is worth.
_MOST_SEARCHED = 1 << 20

# Words of the protocol, which errors use in their own right.
_PROTOCOL = frozenset(
    {"user", "assistant", "system", "tool", "developer", "function", "text", "string", "object", "number", "true"}
)


def without_quotes(text: str, body: bytes | None) -> str:
    """Return a server's text with ``[input]`` in place of what it quotes from the request.

    A quote is a whole text or long number of the request, or a piece of ten characters of a text, as it is or escaped
    as in JSON or Python. Names of fields and the name of the model are not the input's.

    :param text: a few hundred characters; the time this takes grows with it.
    :param body: of the request: JSON, or anything else as one text.
    """
    texts = [*_texts(body)] if body else []
    if sum(map(len, texts)) > _MOST_SEARCHED:
        return "(its text is left out, for the request is too large to find what is quoted from it)" if text else text
    searched = "\0".join(form for value in texts for form in _forms(value))
    wholes = {form for value in texts for form in _forms(value) if len(form) >= _SHORTEST_WHOLE} - _PROTOCOL
    return "".join(_pieces(text, searched, wholes))


def _pieces(text: str, searched: str, wholes: set[str]) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _end_of_quote(text, start, searched, wholes)
        yield _MARK if end > start else text[start]
        start = max(end, start + 1)


def _end_of_quote(text: str, start: int, searched: str, wholes: set[str]) -> int:
    """Return where a quote that starts at a place ends, the place itself if there is none."""
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


def _is_inside_of_word(text: str, place: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(0, place - 1) : place + 1]) is not None


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


def _forms(text: str) -> set[str]:
    in_json = (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
    return {text, repr(text)[1:-1], ascii(text)[1:-1], *in_json}
