"""Rows of files and lists, one after the other."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import orjson

from airflow_provider_baseten.api.requests import MAX_BODY_BYTES
from airflow_provider_baseten.batch.files import InputFile, find
from airflow_provider_baseten.batch.job import INPUT_SUFFIXES, BatchJob
from airflow_provider_baseten.batch.parquet import require_pyarrow
from airflow_provider_baseten.batch.template import Template
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

_SAMPLE_ROWS = 100


class Row:
    """A row, decoded when it is asked for its value.

    :param place: where it is, for messages: a file and how far into it.
    :param raw: JSON as it stands in the file, if it does.
    """

    __slots__ = ("place", "raw", "stored")

    def __init__(self, place: tuple[str, int], raw: bytes | None = None, value: Any = None) -> None:
        self.place = place
        self.raw = raw
        self.stored = value

    @property
    def value(self) -> Any:
        """The row as a Python value.

        :raises BasetenError: it is broken; the message names file and line.
        """
        if self.raw is not None and self.stored is None:
            try:
                self.stored = orjson.loads(self.raw)
            except orjson.JSONDecodeError as error:
                raise BasetenInputError(f"{self} is not JSON ({error.msg} at column {error.colno}).") from None
        if isinstance(self.stored, BasetenError):
            raise self.stored
        return self.stored

    def __str__(self) -> str:
        where, number = self.place
        return f"{where}, line {number}" if where != "inputs" else f"inputs[{number}]"


class Reading:
    """How far files are read.

    :param total: their size in bytes.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self.bytes = 0.0

    @property
    def part(self) -> float:
        """From 0 to 1; 0 without files."""
        return min(1.0, self.bytes / self._total) if self._total else 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from.

    :param rows: all rows; can be read once.
    :param total: number of rows, where it is known without reading them.
    :param files: that they are in.
    :param sample: rows that are not in files, all or the first ones, for a fingerprint.
    :param reading: how far the files are read.
    """

    rows: Iterator[Row]
    total: int | None = None
    files: tuple[InputFile, ...] = ()
    sample: Sequence[Any] = ()
    reading: Reading = field(default_factory=Reading)


def open_source(job: BatchJob) -> Source:
    """Find the rows of a job, and look at the first ones.

    :raises BasetenInputError: there are none, or none of the first has a column that the job names.
    """
    if job.input_path is not None:
        files = tuple(find(job.input_path, INPUT_SUFFIXES))
        reading = Reading(sum(file.size for file in files))
        first, rows = _peek(row for file in files for row in _READERS[file.suffix](file, reading))
        if not first:
            raise BasetenInputError(f"input_path {job.input_path} holds no rows.")
        source = Source(rows, files=files, reading=reading)
    else:
        known = job.inputs if isinstance(job.inputs, list | tuple) else None
        first, rows = _peek(Row(("inputs", index), value=value) for index, value in enumerate(job.inputs or ()))
        sample = known if known is not None else [row.stored for row in first]
        source = Source(rows, total=None if known is None else len(known), sample=sample)
    _check_columns(job, first)
    return source


def _peek(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    first = list(islice(rows, _SAMPLE_ROWS))
    return first, chain(first, rows)


def _check_columns(job: BatchJob, rows: list[Row]) -> None:
    wanted = {*job.keep_columns}
    wanted |= {name for name in (job.id_column, job.model_input) if isinstance(name, str)}
    if isinstance(job.model_input, Mapping | list):
        wanted |= Template(job.model_input).columns
    found: set[str] = set()
    for row in rows:
        with suppress(BasetenError):
            found |= row.value.keys() if isinstance(row.value, dict) else set()
    if rows and (missing := wanted - found):
        raise BasetenInputError(
            f"{rows[0].place[0]} has no column {', '.join(map(repr, sorted(missing)))}: it has "
            f"{', '.join(map(repr, sorted(found)[:20])) or 'none'}. Nothing was sent."
        )


def _jsonl(file: InputFile, reading: Reading) -> Iterator[Row]:
    uri = file.uri
    with file.open() as lines:
        for number, line in enumerate(lines, 1):
            reading.bytes += len(line)
            if raw := line.strip():
                yield Row((uri, number), raw)


def _csv(file: InputFile, reading: Reading) -> Iterator[Row]:
    before = reading.bytes
    csv.field_size_limit(MAX_BODY_BYTES)
    # What is not UTF-8 becomes a failed row when its request is made.
    decoded = partial(io.TextIOWrapper, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with file.open() as binary, decoded(binary) as text:
        reader = csv.reader(text, strict=True)
        header = next(reader, None)
        while header and (fields := _fields(file.uri, reader)) is not None:
            reading.bytes = before + binary.tell()
            place = (file.uri, reader.line_num)
            if fields:
                yield Row(place, value=fields if isinstance(fields, BasetenError) else _named(place, header, fields))
    reading.bytes = before + file.size


def _fields(uri: str, reader: Any) -> list[str] | BasetenInputError | None:
    """Return the fields of the next line, what is wrong with it, or ``None`` at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return BasetenInputError(f"{uri}, line {reader.line_num} is not CSV ({error}).")


def _named(place: tuple[str, int], header: list[str], fields: list[str]) -> dict[str, str] | BasetenInputError:
    if len(fields) == len(header):
        return dict(zip(header, fields, strict=True))
    return BasetenInputError(f"{place[0]}, line {place[1]} has {len(fields)} fields, its header has {len(header)}.")


def _parquet(file: InputFile, reading: Reading) -> Iterator[Row]:
    require_pyarrow()
    import pyarrow.parquet

    before = reading.bytes
    with file.open() as binary:
        try:
            table = pyarrow.parquet.ParquetFile(binary)
        except pyarrow.ArrowException as error:
            raise BasetenInputError(f"{file.uri} is not a Parquet file ({error}).") from None
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for value in batch.to_pylist():
                number += 1
                yield Row((file.uri, number), value=value)
            reading.bytes = before + file.size * number / table.metadata.num_rows


_READERS: dict[str, Callable[[InputFile, Reading], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
