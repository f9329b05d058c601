"""Row source: the rows of files or of a list, read one after the other."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.batch.formats import input_format_of
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.input_files import find, is_transient
from airflow_provider_baseten.batch.output_folder import is_part
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.storage.files import reason
from airflow_provider_baseten.storage.storage_folder import StorageFolder

_LOG = logging.getLogger(__name__)

_SAMPLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class RowSource:
    """The rows of a job.

    :param rows: all rows; can be read once.
    :param total: number of rows, if it is known without reading them all.
    :param at_least: number of rows that were already read to check their columns, at most 100. The source has at least
        this number of rows.
    :param files: files that the rows are in; empty if the job has ``inputs``.
    :param sample: the rows of ``inputs`` from which the job's fingerprint is made: all rows of a list, the first 100 of
        another iterable. Empty if the rows are in files.
    :param read_progress: how much of the files was read.
    """

    rows: Iterator[Row]
    total: int | None = None
    at_least: int = 0
    files: tuple[InputFile, ...] = ()
    sample: Sequence[Any] = ()
    read_progress: ReadProgress = field(default_factory=ReadProgress)


def open_source(plan: BatchPlan) -> RowSource:
    """Open the rows of a job, and check that each column named in the job is in at least one of the first 100 rows.

    :raises BasetenInputError: the files hold no rows, or a column named in the job is in none of the first 100 rows.
    """
    job = plan.job
    if plan.input_columns is not None and not plan.input_columns:
        _LOG.warning(
            "model_input names no column, so that every row becomes the same request. A column stands in single "
            "braces, {text}; double ones, {{ text }}, are not Jinja here."
        )
    if job.input_path is not None:
        folder = StorageFolder(path_text("output_path", job.output_path))
        # If the output folder is inside the input folder, the parts of previous runs must not be read as input.
        files = tuple(file for file in find(path_text("input_path", job.input_path)) if not is_part(file.uri, folder))
        read_progress = ReadProgress(sum(file.size for file in files))
        first, rows = _peek(row for file in files for row in rows_of(file, read_progress, plan.read_columns))
        if not first:
            raise BasetenInputError(f"input_path {job.input_path} holds no rows.")
        source = RowSource(rows, _known(first), len(first), files=files, read_progress=read_progress)
    else:
        known = job.inputs if isinstance(job.inputs, list | tuple) else None
        values = () if job.inputs is None else job.inputs
        first, rows = _peek(Row(("inputs", "", index), value=value) for index, value in enumerate(values))
        sample = known if known is not None else [row.stored for row in first]
        source = RowSource(rows, _known(first, values), len(first), sample=sample)
    _check_columns(plan.named_columns, first)
    return source


def rows_of(file: InputFile, read_progress: ReadProgress, columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file.

    :raises BasetenInputError: the file can't be read to its end.
    """
    input_format = input_format_of(file)
    assert input_format is not None  # noqa: S101 - find() returns only files of a known format.
    last: Row | None = None
    try:
        for last in input_format.rows(file, read_progress, columns):
            yield last
    except BasetenError:
        raise
    except FileNotFoundError as error:
        raise BasetenInputError(f"{file.uri} does not exist any more.", retryable=True) from error
    except Exception as error:
        where = f"{file.uri} can't be read" if last is None else f"{last} is the last that can be read of its file"
        raise BasetenInputError(
            f"{where} ({reason(error)}): it is damaged or was changed meanwhile.",
            retryable=is_transient(error, file.uri),
        ) from error


def _known(first: list[Row], values: Iterable[Any] | None = None) -> int | None:
    """Return the number of rows if it is known, otherwise ``None``.

    The number is known if there are fewer than 100 rows, or if ``values`` has a length.

    :param first: the first rows, at most 100.
    :param values: the ``inputs`` of the job; ``None`` if the rows are in files.
    """
    if len(first) < _SAMPLE_ROWS:
        return len(first)
    with suppress(Exception):  # The length may be computed by code of the user or of Airflow, which may raise anything.
        return len(values) if isinstance(values, Sized) else None
    return None


def _peek(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    first = list(islice(rows, _SAMPLE_ROWS))
    return first, chain(first, rows)


def _check_columns(named: Collection[str], rows: list[Row]) -> None:
    readable = []
    for row in rows:
        with suppress(BasetenError):
            readable.append(row.rounded)
    found = {name for value in readable if isinstance(value, dict) for name in value}
    if readable and (missing := {*named} - found):
        raise BasetenInputError(
            f"{rows[0].location[0]} has no column {', '.join(map(repr, sorted(missing)))}: it has "
            f"{', '.join(map(repr, sorted(map(str, found))[:20])) or 'none'}. Nothing was sent."
        )
