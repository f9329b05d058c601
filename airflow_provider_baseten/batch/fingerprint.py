"""Whether two runs are of the same job: a digest of input and options."""

import hashlib
from collections.abc import Callable, Iterable
from itertools import chain
from types import CodeType
from typing import Any

import orjson

from airflow_provider_baseten.batch.input_files import InputFile
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.row_json import encode
from airflow_provider_baseten.exceptions import BasetenError

# What decides on requests and outputs. Speed, limits and credentials may change between runs.
_OPTIONS = (
    "input_path",
    "output_format",
    "preset",
    "route",
    "parameters",
    "model_input",
    "output_filter",
    "keep_columns",
    "id_column",
    "rows_per_request",
    "join_inputs",
    "split_output",
    "num_shards",
)


def fingerprint(job: BatchJob, files: Iterable[InputFile], values: Iterable[Any]) -> str:
    """Return the digest of a job.

    A file counts by name, size and the version that its storage tells; a callable by its code, not by what it refers
    to.

    :param files: the input files.
    :param values: rows that are not in files, all or the first ones.
    """
    options = {name: _plain(getattr(job, name)) for name in _OPTIONS}
    options["target"] = str(job.target)
    options["files"] = [[file.uri, file.size, file.version] for file in files]
    digest = hashlib.blake2b(orjson.dumps(options, option=orjson.OPT_SORT_KEYS), digest_size=16)
    for value in values:
        digest.update(_as_bytes(value))
    return digest.hexdigest()


def _as_bytes(value: Any) -> bytes:
    try:
        return encode("inputs", value)
    except BasetenError:
        return repr(type(value)).encode()


def _plain(value: Any) -> Any:
    if callable(value):
        return _code_of(value)
    return value if isinstance(value, str | int | float | dict | None) else list(value)


def _code_of(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{name}:{_digest(code)}" if isinstance(code, CodeType) else name


def _digest(code: CodeType) -> str:
    constants = (
        _digest(constant)
        if isinstance(constant, CodeType)
        else repr(sorted(map(repr, constant)))
        if isinstance(constant, frozenset)
        else repr(constant)
        for constant in code.co_consts
    )
    parts = chain([code.co_code.hex()], code.co_names, constants)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
