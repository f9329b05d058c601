"""CSV input with a header line; all values are strings."""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.batch.formats.text_input import skip_byte_order_mark
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.exceptions import BasetenInputError

# A line such as "sep=;" above the header, with which Excel names the delimiter.
_DELIMITER = re.compile(r'"?sep=([^\r\n"])"?\s*', re.IGNORECASE)

_COUNTED_ROWS = 1000


def rows(file: InputFile, progress: ReadProgress, _columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file.

    Empty lines are skipped. Above the header, lines that contain only spaces or delimiters are skipped too. A line that
    is not valid CSV becomes a row that fails.

    :raises BasetenInputError: the header contains a name twice, the file is in UTF-16 or UTF-32, or a line is longer
        than 100 MB.
    """
    with _opened(file, progress) as (above, reader):
        header: list[str] = next(reader, [])
        _check_header(file.uri, header)
        while (fields := _fields(reader)) is not None:
            number = above + reader.line_num
            if fields:
                location = (file.uri, "line", number)
                yield Row(location, value=_named(location, header, fields, above))


def counts(file: InputFile) -> Iterator[int]:
    """Count the rows in blocks.

    Yield the number of rows of each block. The sum of these numbers is the number of rows in the file.
    """
    with _opened(file, ReadProgress()) as (_, reader):
        next(reader, [])
        fields = iter(lambda: _fields(reader), None)
        while block := [*islice(fields, _COUNTED_ROWS)]:
            yield sum(map(bool, block))


@contextmanager
def _opened(file: InputFile, progress: ReadProgress) -> Iterator[tuple[int, Any]]:
    """Yield the number of lines above the header, and a CSV reader whose first row is the header."""
    csv.field_size_limit(MAX_BODY_BYTES)
    with file.open(progress) as stream:
        skip_byte_order_mark(file.uri, stream)
        # Bytes that are not UTF-8 raise no error here. Only the row that holds them fails, when its request is made.
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        above, delimiter, lines = _start(_lines(file.uri, text))
        yield above, csv.reader(lines, strict=True, delimiter=delimiter)


def _lines(uri: str, text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_BODY_BYTES):
        if len(line) == MAX_BODY_BYTES and not line.endswith(("\n", "\r")):
            raise BasetenInputError(f"{uri} has a line of more than 100 MB.")
        yield line


def _start(lines: Iterator[str]) -> tuple[int, str, Iterator[str]]:
    """Return the number of lines above the header, the delimiter, and the lines from the header on."""
    delimiter = ","
    for above, line in enumerate(lines):
        if named := _DELIMITER.fullmatch(line):
            delimiter = named[1]
        elif line.strip(f"{delimiter} \t\r\n"):
            return above, delimiter, chain([line], lines)
    return 0, delimiter, iter(())


def _check_header(uri: str, header: list[str]) -> None:
    if any("\0" in name for name in header):
        raise BasetenInputError(f"{uri} has zero bytes in its header: it is UTF-16 or not text; convert it to UTF-8.")
    repeated = [repr(name) for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise BasetenInputError(f"{uri} has several columns of the name {', '.join(repeated[:20])}: rename them.")


def _fields(reader: Any) -> list[str] | csv.Error | None:
    """Return the fields of the next row; ``None`` at the end of the file.

    If the row is not valid CSV, return the error. Its ``args`` are the number of the row's first line and a description
    of the problem.
    """
    first = reader.line_num + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        error.args = (first, str(error))
        return error


def _named(
    location: tuple[str, str, int], header: list[str], fields: list[str] | csv.Error, above: int
) -> dict[str, str] | BasetenInputError:
    uri, _, number = location
    if isinstance(fields, csv.Error):
        first, problem = above + fields.args[0], fields.args[1]
        where = f"line {number}" if first == number else f"from line {first} to line {number}"
        return BasetenInputError(f"{uri}, {where} is not CSV ({problem}).")
    if len(fields) == len(header):
        return dict(zip(header, fields, strict=True))
    return BasetenInputError(f"{uri}, line {number} has {len(fields)} fields, its header has {len(header)}.")
