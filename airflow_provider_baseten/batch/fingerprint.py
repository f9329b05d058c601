"""Fingerprint of a job: a hash of its input and options, by which a run recognizes an earlier run of the same job."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import orjson

from airflow_provider_baseten.batch.description import NotDescribableError, describe
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.row_json import encode_value
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

# Version of the rules that make a fingerprint. Fingerprints of different versions are never equal.
_VERSION = 2

# Fields that are not in `_OPTIONS`, because each of them is added to the fingerprint in its own way.
_TARGET_AND_INPUT = {"target", "inputs", "input_path"}
_OPTIONS = [f.name for f in fields(BatchJob) if f.metadata["is_fingerprinted"] and f.name not in _TARGET_AND_INPUT]


def fingerprint_job(job: BatchJob, files: Iterable[InputFile], values: Iterable[Any]) -> str:
    """Return the fingerprint of a job.

    It depends on the name and size of each input file, and on the version that the file's storage reports. For each
    callable of the job it depends on the callable's source, defaults and closure, and on the constants, functions and
    classes that the callable uses. If the job has a ``job_version``, this string is used in place of all callables.

    :param files: the input files; empty if the job has ``inputs``.
    :param values: rows of the job's ``inputs``. If ``inputs`` is a list, these are all rows, otherwise the first 100.
        Empty if there are input files.
    :raises BasetenInputError: a callable or a row refers to something that can't be compared between two runs.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(job, files, values):
        # Without the lengths, the parts 1 and 23 would have the same digest as the parts 12 and 3.
        digest.update(len(part).to_bytes(8) + part)
    return f"{_VERSION}-{digest.hexdigest()}"


def _parts(job: BatchJob, files: Iterable[InputFile], values: Iterable[Any]) -> Iterator[bytes]:
    yield str(job.target).encode()
    for name in _OPTIONS:
        yield name.encode()
        yield _option(job, name)
    yield str(job.input_path).encode()
    yield orjson.dumps([[file.uri, file.size, file.version] for file in files])
    for index, value in enumerate(values):
        yield _row(job, index, value)


def _option(job: BatchJob, name: str) -> bytes:
    value = getattr(job, name)
    if not callable(value):
        return encode_value(name, value, sort_keys=True)
    if job.job_version is not None:
        return b"callable"
    try:
        return b"callable " + describe(value).encode()
    except NotDescribableError as error:
        raise BasetenInputError(
            f"{name} refers to {error}, so that another run can't check whether it is still the same: set "
            "job_version, a text that you change whenever the callable does something else. Nothing was sent."
        ) from None


def _row(job: BatchJob, index: int, value: Any) -> bytes:
    try:
        return _content(value)
    except NotDescribableError as error:
        if callable(job.model_input) and job.job_version is None:
            raise BasetenInputError(
                f"inputs[{index}] is or holds {error}, so that another run can't check whether the rows are still the "
                "same: use rows of plain values, or set job_version, a text that you change whenever the rows do. "
                "Nothing was sent."
            ) from None
    # This row holds a value whose content can't be compared between two runs. The fingerprint has only the type of this
    # value. The type is enough here, for one of two reasons:
    # - job_version is set: the user is responsible for changing job_version whenever the rows change.
    # - model_input is not callable: the value is not sent, because JSON can't encode it.
    if not isinstance(value, dict):
        return _content_or_type(value)
    cells = sorted((_content_or_type(name), _content_or_type(cell)) for name, cell in value.items())
    return b"row " + b"".join(len(part).to_bytes(8) + part for cell in cells for part in cell)


def _content(value: Any) -> bytes:
    """Return bytes that are equal for two values of equal content.

    :raises NotDescribableError: the value is or holds something that can't be compared between two runs.
    """
    try:
        return encode_value("inputs", value, sort_keys=True)
    except BasetenError:
        return b"object " + describe(value).encode()


def _content_or_type(value: Any) -> bytes:
    try:
        return _content(value)
    except NotDescribableError:
        return b"type " + type(value).__qualname__.encode()
