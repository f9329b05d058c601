"""Rows of files and lists, one after the other."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.batch.formats import READERS
from airflow_provider_baseten.batch.input_files import InputFile, find, may_pass
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.parts import is_part
from airflow_provider_baseten.batch.row import Reading, Row
from airflow_provider_baseten.batch.template import Template
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.storage.files import reason
from airflow_provider_baseten.storage.storage_folder import StorageFolder

_LOG = logging.getLogger(__name__)

_SAMPLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from.

    :param rows: all rows; can be read once.
    :param total: number of rows, where it is known without reading them all.
    :param at_least: number of rows that were looked at.
    :param files: that they are in.
    :param sample: rows that are not in files, all or the first ones, for a fingerprint.
    :param reading: how far the files are read.
    """

    rows: Iterator[Row]
    total: int | None = None
    at_least: int = 0
    files: tuple[InputFile, ...] = ()
    sample: Sequence[Any] = ()
    reading: Reading = field(default_factory=Reading)


def open_source(job: BatchJob) -> Source:
    """Find the rows of a job, and look at the first ones.

    :raises BasetenInputError: there are none, or none of the first has a column that the job names.
    """
    named = _named_columns(job)
    if job.input_path is not None:
        folder = StorageFolder(path_text("output_path", job.output_path))
        # The output folder may be in the input folder: what earlier runs have written there is no input.
        files = tuple(file for file in find(path_text("input_path", job.input_path)) if not is_part(file.uri, folder))
        reading = Reading(sum(file.size for file in files))
        columns = None if job.model_input is None or callable(job.model_input) else named
        first, rows = _peek(row for file in files for row in rows_of(file, reading, columns))
        if not first:
            raise BasetenInputError(f"input_path {job.input_path} holds no rows.")
        source = Source(rows, _known(first), len(first), files=files, reading=reading)
    else:
        known = job.inputs if isinstance(job.inputs, list | tuple) else None
        values = () if job.inputs is None else job.inputs
        first, rows = _peek(Row(("inputs", "", index), value=value) for index, value in enumerate(values))
        sample = known if known is not None else [row.stored for row in first]
        source = Source(rows, _known(first, values), len(first), sample=sample)
    _check_columns(named, first)
    return source


def rows_of(file: InputFile, reading: Reading, columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file.

    :raises BasetenInputError: the file can't be read, or not to its end.
    """
    last: Row | None = None
    try:
        for last in READERS[file.format](file, reading, columns):
            yield last
    except BasetenError:
        raise
    except FileNotFoundError as error:
        raise BasetenInputError(f"{file.uri} is not there any more.", retryable=True) from error
    except Exception as error:
        where = f"{file.uri} can't be read" if last is None else f"{last} is the last that can be read of its file"
        raise BasetenInputError(
            f"{where} ({reason(error)}): it is damaged or was changed meanwhile.", retryable=may_pass(error, file.uri)
        ) from error


def _known(first: list[Row], values: Iterable[Any] | None = None) -> int | None:
    """Return the number of rows if the first ones are all, or the values that they come from have a length."""
    if len(first) < _SAMPLE_ROWS:
        return len(first)
    with suppress(Exception):  # The length is made by code of the author of the DAG, or asked of Airflow.
        return len(values) if isinstance(values, Sized) else None
    return None


def _peek(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    first = list(islice(rows, _SAMPLE_ROWS))
    return first, chain(first, rows)


def _named_columns(job: BatchJob) -> set[str]:
    """Return the columns that a job names."""
    named = {*job.keep_columns}
    named |= {name for name in (job.id_column, job.model_input) if isinstance(name, str)}
    if isinstance(job.model_input, Mapping | list):
        filled = Template(job.model_input).columns
        if not filled:
            _LOG.warning(
                "model_input names no column, so that every row becomes the same request. A column stands in single "
                "braces, {text}; double ones, {{ text }}, are no Jinja here."
            )
        named |= filled
    return named


def _check_columns(named: set[str], rows: list[Row]) -> None:
    readable = []
    for row in rows:
        with suppress(BasetenError):
            readable.append(row.rounded)
    found = {name for value in readable if isinstance(value, dict) for name in value}
    if readable and (missing := named - found):
        raise BasetenInputError(
            f"{rows[0].place[0]} has no column {', '.join(map(repr, sorted(missing)))}: it has "
            f"{', '.join(map(repr, sorted(map(str, found))[:20])) or 'none'}. Nothing was sent."
        )
