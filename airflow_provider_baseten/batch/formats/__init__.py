"""Formats of input files and of output parts. Each format has a module in this package and an entry in a table."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from airflow_provider_baseten.batch.formats import (
    csv_input,
    jsonl_input,
    jsonl_parts,
    parquet_input,
    parquet_parts,
)
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFormat:
    """A format of input files.

    :param name: name in messages.
    :param rows: yields the rows of a file; its last argument is the columns that are needed, ``None`` for all.
    :param counts: yields the number of rows of each block of a file; the sum is the number of rows in the file.
    :param compresses_itself: whether the format has its own compression, so that a file must not be compressed again.
    :param has_row_count: whether the metadata of a file has the number of rows, so that counting is cheap.
    """

    name: str
    rows: Callable[[InputFile, ReadProgress, Collection[str] | None], Iterator[Row]]
    counts: Callable[[InputFile], Iterator[int]]
    compresses_itself: bool = False
    has_row_count: bool = False


_JSONL = InputFormat(name="JSON Lines", rows=jsonl_input.rows, counts=jsonl_input.counts)

#: Formats by the suffix of the files, in lower case.
INPUT_FORMATS = {
    ".jsonl": _JSONL,
    ".ndjson": _JSONL,
    ".csv": InputFormat(name="CSV", rows=csv_input.rows, counts=csv_input.counts),
    ".parquet": InputFormat(
        name="Parquet",
        rows=parquet_input.rows,
        counts=parquet_input.counts,
        compresses_itself=True,
        has_row_count=True,
    ),
}


def input_format_of(file: InputFile) -> InputFormat | None:
    """Return the format of a file according to its name."""
    return INPUT_FORMATS.get(file.suffix)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFormat:
    """A format of parts with outputs. Parts with failed rows are always JSON Lines.

    :param check: raises ``BasetenInputError`` if a library that the format needs is not installed.
    :param encode: returns the content of a part. Its arguments are the rows (number, copied columns and output of
        each), the names of the copied columns, and whether the outputs are lists of numbers as 32-bit floats.
    :param row_numbers: returns the numbers of the rows in a part; raises ``ValueError`` if the part is damaged.
    :param packs_vectors: whether ``encode`` expects lists of numbers as 32-bit floats instead of JSON.
    """

    check: Callable[[], None]
    encode: Callable[[list[tuple[int, bytes, bytes]], Sequence[str], bool], bytes]
    row_numbers: Callable[[IO[bytes]], Sequence[int]]
    packs_vectors: bool = False


#: Formats by the job's ``output_format``, which is also the suffix of the parts.
PART_FORMATS = {
    "jsonl": PartFormat(check=lambda: None, encode=jsonl_parts.encode_part, row_numbers=jsonl_parts.row_numbers),
    "parquet": PartFormat(
        check=parquet_parts.require_pyarrow,
        encode=parquet_parts.encode_part,
        row_numbers=parquet_parts.row_numbers,
        packs_vectors=True,
    ),
}
