"""Bulk job: all options of a bulk run, checked."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_baseten.api.http import READ_TIMEOUT, checked_headers
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.arguments import (
    check_choice,
    check_count,
    check_exactly_one,
    check_flags,
    check_functions,
    check_ratio,
    check_seconds,
    path_text,
    shown,
)
from airflow_provider_baseten.exceptions import BasetenInputError

if TYPE_CHECKING:
    from airflow_provider_baseten.client.retries import RequestRetries

Preset = Literal["predict", "chat", "embeddings", "classify", "rerank"]
OutputFormat = Literal["jsonl", "parquet"]
ModelInput = str | Mapping[str, Any] | list[Any] | Callable[[Any], Any] | None

# Columns that the engine itself writes to the output. A copied column can't have such a name.
RESERVED_COLUMNS = frozenset({"row", "output", "error"})

MAX_CONCURRENCY = 1024

# File names have five digits for the number of a shard.
MAX_SHARDS = 100_000

# Limits of `requests_per_second`: one request in 30 years, and one in a nanosecond. Beyond these limits, the pause
# between two requests would not be a usable number.
_MIN_RATE, _MAX_RATE = 1e-9, 1e9

# Metadata of the job's fields. A field that decides about requests or outputs is part of the job's fingerprint. A field
# for speed, limits or credentials may change between two runs of the same job.
_FINGERPRINTED = {"is_fingerprinted": True}
_CHANGEABLE = {"is_fingerprinted": False}


def _rendered(stand_in: Any) -> dict[str, Any]:
    """Return the metadata of a field that may hold a Jinja template until the task runs.

    :param stand_in: a valid value of the field. It takes the place of the template when the other fields are checked
        before rendering.
    """
    return {"stand_in": stand_in}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A bulk job: its rows, how they become requests, and where the outputs go.

    :param target: the model or chain.
    :param inputs: the rows, any JSON values; exactly one of ``inputs`` and ``input_path`` is given. Every run of the
        same job must be given the same rows in the same order.
    :param input_path: a file, a folder of files or a glob; a local path or any URI that Airflow's ``ObjectStoragePath``
        knows. A file ends in ``.jsonl``, ``.csv`` or ``.parquet``; after ``.jsonl`` and ``.csv``, ``.gz`` or ``.zst``
        may follow.
    :param output_path: folder for the manifest and the parts (files of up to 1,000 rows); a local path or a URI.
    :param output_format: ``jsonl`` (default) or ``parquet``.
    :param preset: how rows become requests and responses become outputs: ``predict`` (default), ``chat``,
        ``embeddings``, ``classify`` or ``rerank``.
    :param route: path on a custom server, instead of predict or the preset's own route.
    :param parameters: members that every request body of a preset gets, for example ``{"model": "...",
        "max_tokens": 100}``; members of the row itself take precedence.
    :param model_input: what a row sends to the model: the row as it is (``None``, default), the name of a column, an
        object or list whose strings name columns in braces (``{"text": "{title}: {body}", "top": 3}``), or a callable
        from row to input.
    :param output_filter: callable from a row's output to the output that is written.
    :param keep_columns: columns of the input that are copied to the output.
    :param id_column: a column that is copied to the output and has a different value in every row; a row that repeats
        a value fails and is not sent.
    :param rows_per_request: number of rows in one request, by default 1.
    :param join_inputs: for ``predict``: callable from a list of inputs to the body of their request; by default the
        list itself is the body.
    :param split_output: for ``predict``: callable from the response to a list with one output for each row; by
        default the response itself is that list.
    :param max_concurrency: maximum number of requests in flight, or ``auto`` (default) to find what the server can
        take.
    :param requests_per_second: upper limit of the request rate, by default none.
    :param max_failed_rows: maximum number of failed rows. When more rows have failed, the run ends with an error. By
        default there is no limit.
    :param max_failure_ratio: the run ends with an error if more than this fraction of the rows, 0 to 1, has failed. By
        default the run ends with an error if rows have failed and no row got a response.
    :param only_failed: send only rows whose last outcome is a failure; by default also rows that were never sent.
    :param overwrite: delete the files of another job at ``output_path``; by default such files are an error. A job with
        a different input is another job, and so is a job with a different option that affects requests or outputs.
        Outputs of the same job are never deleted: a repeated run continues the job.
    :param num_shards: number of shards that the job is split into, by default 1.
    :param shard: number of the shard that this job runs, from 0. A shard takes every ``num_shards``-th row.
    :param timeout: seconds to wait for each response, by default 1260.
    :param request_retries: ``RequestRetries``: how often, and for how long, a request is sent again after an error; by
        default 8 attempts within an hour.
    :param headers: extra HTTP headers.
    :param idempotent: whether a request may be sent again when the model may have run; by default not.
    :param job_version: a string that you change whenever the callables of the job change. If it is given, two runs are
        compared by this string instead of their callables.
    :raises BasetenInputError: an argument is not valid; the message names it.
    """

    target: Target | ModelApis = field(metadata=_FINGERPRINTED | _rendered(Target(model_id="rendered")))
    output_path: str | PathLike[str] = field(metadata=_CHANGEABLE | _rendered("rendered"))
    inputs: Iterable[Any] | None = field(default=None, repr=False, metadata=_FINGERPRINTED | _rendered(()))
    input_path: str | PathLike[str] | None = field(default=None, metadata=_FINGERPRINTED | _rendered("rendered"))
    output_format: OutputFormat = field(default="jsonl", metadata=_FINGERPRINTED)
    preset: Preset = field(default="predict", metadata=_FINGERPRINTED)
    route: str | None = field(default=None, metadata=_FINGERPRINTED | _rendered("rendered"))
    parameters: Mapping[str, Any] | None = field(default=None, repr=False, metadata=_FINGERPRINTED | _rendered({}))
    model_input: ModelInput = field(default=None, metadata=_FINGERPRINTED)
    output_filter: Callable[[Any], Any] | None = field(default=None, metadata=_FINGERPRINTED)
    keep_columns: Sequence[str] = field(default=(), metadata=_FINGERPRINTED)
    id_column: str | None = field(default=None, metadata=_FINGERPRINTED)
    rows_per_request: int = field(default=1, metadata=_FINGERPRINTED)
    join_inputs: Callable[[list[Any]], Any] | None = field(default=None, metadata=_FINGERPRINTED)
    split_output: Callable[[Any], Sequence[Any]] | None = field(default=None, metadata=_FINGERPRINTED)
    max_concurrency: int | Literal["auto"] = field(default="auto", metadata=_CHANGEABLE)
    requests_per_second: float | None = field(default=None, metadata=_CHANGEABLE)
    max_failed_rows: int | None = field(default=None, metadata=_CHANGEABLE)
    max_failure_ratio: float | None = field(default=None, metadata=_CHANGEABLE)
    only_failed: bool = field(default=False, metadata=_CHANGEABLE)
    overwrite: bool = field(default=False, metadata=_CHANGEABLE)
    num_shards: int = field(default=1, metadata=_FINGERPRINTED)
    shard: int = field(default=0, metadata=_CHANGEABLE)
    timeout: float = field(default=READ_TIMEOUT, metadata=_CHANGEABLE)
    request_retries: "RequestRetries | None" = field(default=None, metadata=_CHANGEABLE)
    headers: Mapping[str, str] | None = field(default=None, repr=False, metadata=_CHANGEABLE | _rendered({}))
    idempotent: bool = field(default=False, metadata=_CHANGEABLE)
    job_version: str | None = field(default=None, metadata=_FINGERPRINTED)

    def __post_init__(self) -> None:
        if not isinstance(self.target, Target | ModelApis):
            raise BasetenInputError(f"target={shown(self.target)} is not a Target.")
        check_flags(only_failed=self.only_failed, overwrite=self.overwrite, idempotent=self.idempotent)
        self._check_paths()
        self._check_columns()
        self._check_grouping()
        self._check_numbers()
        checked_headers(self.headers)
        if self.route is not None:
            self.target.sync_path(self.route)

    def _check_paths(self) -> None:
        check_exactly_one(inputs=self.inputs, input_path=self.input_path)
        _check_rows(self.inputs)
        _check_path("output_path", self.output_path, "a folder")
        if self.input_path is not None:
            _check_path("input_path", self.input_path, "a file, a folder or a glob")
        check_choice("output_format", self.output_format, get_args(OutputFormat))

    def _check_columns(self) -> None:
        if not (self.model_input is None or callable(self.model_input)):
            _check_model_input(self.model_input)
        names = self.keep_columns
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise BasetenInputError(f"keep_columns={shown(names)} is not a list of column names.")
        if self.id_column is not None and not isinstance(self.id_column, str):
            raise BasetenInputError(f"id_column={shown(self.id_column)} is not the name of a column.")
        _check_json("keep_columns and id_column", [*self.keep_columns, self.id_column])
        if taken := RESERVED_COLUMNS & {*self.keep_columns, self.id_column}:
            raise BasetenInputError(
                f"keep_columns and id_column can't hold {sorted(map(str, taken))}: output lines use these names."
            )
        check_functions(output_filter=self.output_filter)
        if self.job_version is not None and not (isinstance(self.job_version, str) and self.job_version):
            raise BasetenInputError(f"job_version={shown(self.job_version)} is not a text of at least one character.")

    def _check_grouping(self) -> None:
        check_choice("preset", self.preset, get_args(Preset))
        check_count("rows_per_request", self.rows_per_request, 1)
        if self.preset == "chat" and self.rows_per_request > 1:
            raise BasetenInputError(
                f"rows_per_request={shown(self.rows_per_request)} is more than 1, but with preset='chat' each row is a "
                "request of its own."
            )
        functions = {"join_inputs": self.join_inputs, "split_output": self.split_output}
        check_functions(**functions)
        for name, function in functions.items():
            if function is not None and self.preset != "predict":
                raise BasetenInputError(
                    f"{name} is only for preset='predict': remove it, the preset {self.preset!r} does its work."
                )
        if self.parameters is not None and self.preset == "predict":
            raise BasetenInputError(
                "parameters needs a preset other than 'predict'; with 'predict', make the whole body in model_input."
            )
        if self.parameters is not None:
            if not isinstance(self.parameters, Mapping):
                raise BasetenInputError(f"parameters takes an object, not a {type(self.parameters).__name__}.")
            _check_json("parameters", self.parameters)

    def _check_numbers(self) -> None:
        if not (isinstance(self.max_concurrency, str) and self.max_concurrency == "auto"):
            check_count("max_concurrency", self.max_concurrency, 1, MAX_CONCURRENCY)
        check_count("num_shards", self.num_shards, 1, MAX_SHARDS)
        check_count("shard", self.shard, 0, self.num_shards - 1)
        if self.max_failed_rows is not None:
            check_count("max_failed_rows", self.max_failed_rows, 0)
        _check_rate(self.requests_per_second)
        check_seconds(timeout=self.timeout)
        if self.max_failure_ratio is not None:
            check_ratio("max_failure_ratio", self.max_failure_ratio)
        _check_retries(self.request_retries)


def check_before_rendering(**arguments: Any) -> None:
    """Check a job's arguments before its templates are rendered; arguments that may be templates are not checked.

    :raises BasetenInputError: an argument is not valid; the message names it.
    """
    stand_ins = {f.name: f.metadata["stand_in"] for f in fields(BatchJob) if "stand_in" in f.metadata}
    given = {name for name, value in arguments.items() if value is not None}
    BatchJob(**arguments | {name: value for name, value in stand_ins.items() if name in given})


# Library -> expression that turns its tables or arrays into rows. Error messages recommend it.
_ROWS_OF_TABLES = {
    "numpy": "inputs.tolist()",
    "pandas": "inputs.to_dict('records')",
    "polars": "inputs.to_dicts()",
    "pyarrow": "inputs.to_pylist()",
    "torch": "inputs.tolist()",
}


def _check_rows(inputs: object) -> None:
    kind = type(inputs)
    named = f"{kind.__module__.partition('.')[0]} {kind.__name__}".removeprefix("builtins ")
    if isinstance(inputs, set | frozenset):
        raise BasetenInputError(
            f"inputs takes rows in an order that stays the same, which a {named} does not have: sort it."
        )
    if any(hasattr(kind, name) for name in ("__array__", "__dataframe__", "__arrow_c_stream__", "__arrow_c_array__")):
        rows = _ROWS_OF_TABLES.get(kind.__module__.partition(".")[0], "a list of its rows")
        raise BasetenInputError(f"inputs takes an iterable of rows, not a {named}: give {rows}.")
    if isinstance(inputs, str | bytes | bytearray | memoryview | Mapping) or not isinstance(inputs, Iterable | None):
        raise BasetenInputError(f"inputs takes an iterable of rows, not a {named}.")


def _check_path(name: str, path: object, what: str) -> None:
    try:
        text = path_text(name, path)
    except BasetenInputError as error:
        raise BasetenInputError(f"{name} takes the path or URI of {what}: {error}") from None
    if not text.strip():
        raise BasetenInputError(f"{name} takes the path or URI of {what}, not an empty text.")


def _check_json(name: str, value: object) -> None:
    """Check that a value can be sent as JSON.

    :raises BasetenInputError: the value can't be sent as JSON.
    """
    from airflow_provider_baseten.batch.row_json import encode_value

    encode_value(name, value)


def _check_model_input(value: object) -> None:
    if isinstance(value, Mapping | list):
        from airflow_provider_baseten.batch.template import Template

        Template(value)
    elif not isinstance(value, str):
        raise BasetenInputError(
            "model_input takes None for the whole row, the name of a column, an object or list with columns in braces, "
            f"or a callable, not a {type(value).__name__}."
        )


def _check_rate(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise BasetenInputError(f"requests_per_second={shown(value)} is not a number above 0.")
    if not _MIN_RATE <= value <= _MAX_RATE:
        raise BasetenInputError(
            f"requests_per_second={shown(value)} is not a number from {_MIN_RATE:g} to {_MAX_RATE:g}."
        )


def _check_retries(retries: object) -> None:
    if retries is None:
        return
    # Imported here, because the imported module loads HTTP libraries, which takes long. Most jobs set no
    # request_retries, so they don't need it.
    from airflow_provider_baseten.client.retries import RequestRetries

    if not isinstance(retries, RequestRetries):
        raise BasetenInputError(f"request_retries={shown(retries)} is not a RequestRetries.")
