"""Parts in JSON Lines: outputs, and failed rows."""

from array import array
from collections.abc import Sequence
from typing import IO

# Characters that JSON allows in strings, with their escapes. Some readers take the characters for the end of a line.
_LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"]

_LINE_START = b'{"row":'


def encode_part(rows: list[tuple[int, bytes, bytes]], columns: Sequence[str], are_vectors: bool) -> bytes:
    """Return rows with their outputs as JSON Lines.

    :param rows: for each row three values: its number; its copied columns as a fragment of JSON that begins with a
        comma, such as ``,"id":7,"title":"A"``; and its output as JSON.
    :param columns: not used in this format.
    :param are_vectors: not used in this format.
    """
    return _lines(rows, b"output")


def encode_failed(rows: list[tuple[int, bytes, bytes]]) -> bytes:
    """Return failed rows as JSON Lines.

    :param rows: for each row its number, its copied columns as in :func:`encode_part`, and the record of its failure.
    """
    return _lines(rows, b"error")


def _lines(rows: list[tuple[int, bytes, bytes]], member: bytes) -> bytes:
    body = b"".join([b'{"row":%d%b,"%b":%b}\n' % (number, copied, member, text) for number, copied, text in rows])
    if not body.isascii():
        for end, escape in _LINE_ENDS:
            body = body.replace(end, escape)
    return body


def row_numbers(file: IO[bytes]) -> "array[int]":
    """Return the numbers of the rows in a part.

    :raises ValueError: the part is damaged.
    """
    numbers = array("Q")
    for line in file:
        number, comma, _ = line.removeprefix(_LINE_START).partition(b",")
        if not (line.startswith(_LINE_START) and comma and number.isdigit() and line.endswith(b"}\n")):
            raise ValueError(f"line {len(numbers) + 1} is not a row")
        numbers.append(int(number))
    return numbers
