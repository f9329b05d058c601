"""JSON Lines: one JSON value in each line."""

from collections.abc import Collection, Iterator
from functools import partial

from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.batch.formats.text_input import skip_byte_order_mark
from airflow_provider_baseten.batch.input_files import InputFile
from airflow_provider_baseten.batch.row import Reading, Row
from airflow_provider_baseten.exceptions import BasetenPayloadTooLargeError

_COUNTED_BYTES = 1 << 18


def rows(file: InputFile, reading: Reading, _columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file. Blank lines are none."""
    uri = file.uri
    with file.open(reading) as stream:
        skip_byte_order_mark(uri, stream)
        read = partial(stream.readline, MAX_BODY_BYTES)
        for number, line in enumerate(iter(read, b""), 1):
            place = (uri, "line", number)
            if len(line) == MAX_BODY_BYTES and not line.endswith(b"\n"):
                while (rest := read()) and not rest.endswith(b"\n"):
                    pass
                yield Row(place, value=BasetenPayloadTooLargeError(f"{uri}, line {number} has more than 100 MB."))
            elif raw := line.strip():
                yield Row(place, raw)


def counts(file: InputFile) -> Iterator[int]:
    """Yield numbers of rows whose sum is that of the file."""
    with file.open(Reading()) as stream:
        skip_byte_order_mark(file.uri, stream)
        holds_text = False  # The line that the last block ended in.
        for block in iter(partial(stream.read, _COUNTED_BYTES), b""):
            start, *lines = map(bytes.strip, block.split(b"\n"))
            holds_text = holds_text or bool(start)
            if lines:
                yield holds_text + sum(map(bool, lines[:-1]))
                holds_text = bool(lines[-1])
        yield int(holds_text)
