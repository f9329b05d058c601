"""JSON Lines input: one JSON value in each line."""

from collections.abc import Collection, Iterator
from functools import partial

from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.batch.formats.text_input import skip_byte_order_mark
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.exceptions import BasetenPayloadTooLargeError

_COUNTED_BYTES = 1 << 18


def rows(file: InputFile, progress: ReadProgress, _columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file. Blank lines are skipped; a line of over 100 MB becomes a row that fails."""
    uri = file.uri
    with file.open(progress) as stream:
        skip_byte_order_mark(uri, stream)
        read = partial(stream.readline, MAX_BODY_BYTES)
        for number, line in enumerate(iter(read, b""), 1):
            location = (uri, "line", number)
            if len(line) == MAX_BODY_BYTES and not line.endswith(b"\n"):
                while (rest := read()) and not rest.endswith(b"\n"):
                    pass
                yield Row(location, value=BasetenPayloadTooLargeError(f"{uri}, line {number} has more than 100 MB."))
            elif raw := line.strip():
                yield Row(location, raw)


def counts(file: InputFile) -> Iterator[int]:
    """Count the rows while the file is read in blocks of 256 KiB.

    Yield for each block the number of rows that end in it. The sum of these numbers is the number of rows in the file.
    """
    with file.open(ReadProgress()) as stream:
        skip_byte_order_mark(file.uri, stream)
        holds_text = False  # Whether the unfinished last line of the previous block has text.
        for block in iter(partial(stream.read, _COUNTED_BYTES), b""):
            start, *lines = map(bytes.strip, block.split(b"\n"))
            holds_text = holds_text or bool(start)
            if lines:
                yield holds_text + sum(map(bool, lines[:-1]))
                holds_text = bool(lines[-1])
        yield int(holds_text)
