"""Runs a model over many rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Required, Unpack

from airflow_provider_baseten.api.http import READ_TIMEOUT
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob, ModelInput, OutputFormat, Preset
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.airflow_options import AirflowOptions, DecoratorOptions
from airflow_provider_baseten.operators.base import BasetenOperator, TargetArguments, TargetOptions
from airflow_provider_baseten.operators.batch_run import RunsBatch

if TYPE_CHECKING:
    from os import PathLike

    from airflow.sdk import Context

    from airflow_provider_baseten.client.retries import RequestRetries

# Arguments of a job that are the same when the DAG is parsed and when the task runs.
_OPTIONS = (
    "output_format",
    "preset",
    "model_input",
    "output_filter",
    "keep_columns",
    "id_column",
    "rows_per_request",
    "join_inputs",
    "split_output",
    "max_concurrency",
    "requests_per_second",
    "max_failed_rows",
    "max_failure_ratio",
    "only_failed",
    "overwrite",
    "num_shards",
    "shard",
    "timeout",
    "idempotent",
    "job_version",
)


class BatchOptions(TargetOptions, total=False):
    """Arguments of :class:`BasetenBatchPredictOperator`, without input, output folder and shards."""

    output_format: OutputFormat
    preset: Preset
    route: str | None
    parameters: Mapping[str, Any] | None
    model_input: ModelInput
    output_filter: Callable[[Any], Any] | None
    keep_columns: Sequence[str]
    id_column: str | None
    rows_per_request: int
    join_inputs: Callable[[list[Any]], Any] | None
    split_output: Callable[[Any], Sequence[Any]] | None
    max_concurrency: int | Literal["auto"]
    requests_per_second: float | None
    max_failed_rows: int | None
    max_failure_ratio: float | None
    only_failed: bool
    overwrite: bool
    timeout: float
    request_retries: "RequestRetries | None"
    idempotent: bool
    job_version: str | None


class BatchGroupOptions(BatchOptions, AirflowOptions, total=False):
    """The same with Airflow's, for the group."""


class BatchTaskOptions(BatchOptions, DecoratorOptions, total=False):
    """Arguments of :class:`BasetenBatchPredictOperator` besides its input, for its decorator."""

    output_path: Required[str]
    num_shards: int
    shard: int | None


class BasetenBatchPredictOperator(RunsBatch, BasetenOperator):
    """Run a model over many rows; return a manifest that says where the outputs are and how many rows have failed.

    Rows stream from a file, a folder or a list, many requests are in flight at once, and the outputs are written in
    parts of about 1,000 rows. A row that fails, after the retries of its request, is written to a file of its own with
    its error, and the others go on; the task fails if every row has failed. The manifest,
    :class:`~airflow_provider_baseten.batch.manifest.Manifest` as an object, is written last.

    Holds a worker slot while it runs. A retry of the task, or another run with the same arguments, sends only the rows
    without an output: what a killed worker had in flight or in the open part. A task that is stopped, or whose
    ``execution_timeout`` has passed, finishes the open part within 5 seconds. Input or arguments that have changed are
    an error, unless ``overwrite`` is given.

    Every 10 seconds it logs how far it is, and keeps the same numbers in the task state store of Airflow 3.3 and newer
    as ``baseten_batch_progress``.

    Its other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``retry_policy`` and Airflow's own.

    :param inputs: the rows, any JSON values: a list, another iterable, or the output of a task. Exactly one of
        ``inputs`` and ``input_path`` is given. (templated, not shown among the rendered templates)
    :param input_path: URI or local path of a ``.jsonl``, ``.csv`` or ``.parquet`` file (the first two also compressed:
        ``.gz``, ``.zst``), a folder of them or a glob. (templated)
    :param output_path: URI or local path of a folder for parts and manifest; one folder for each job. (templated)
    :param output_format: ``jsonl`` (default) or ``parquet``.
    :param preset: how rows become requests and answers become outputs: ``predict`` (default), ``chat``,
        ``embeddings``, ``classify`` or ``rerank``.
    :param route: path on a custom server, for example ``v1/rank``, instead of predict or the preset's own route.
        (templated)
    :param parameters: members that every request body of a preset gets, for example ``{"max_tokens": 100}``; what a row
        says itself wins. (templated, not shown)
    :param model_input: what a row becomes: the row as it is (``None``, default), the name of a column, an object or
        list whose texts name columns in braces (``{"text": "{title}: {body}", "top": 3}``), or a callable from row to
        input.
    :param output_filter: callable from a row's output to what is kept of it.
    :param keep_columns: columns of the input that go into the output.
    :param id_column: a column that goes into the output and has a different value in every row; a row that repeats one
        fails and is not sent.
    :param rows_per_request: rows in one request, by default 1.
    :param join_inputs: for ``predict``: callable from a list of inputs to the body of their request, by default the
        list itself.
    :param split_output: for ``predict``: callable from the answer to a list with one output for each row, by default
        the answer itself.
    :param max_concurrency: requests in flight, or ``auto`` (default) to find what the server can take.
    :param requests_per_second: upper limit of the rate, by default none.
    :param max_failed_rows: the task fails once more rows than this have failed; by default no limit. With shards it
        holds for each of them.
    :param max_failure_ratio: the task fails if more than this part of the rows has failed, 0 to 1; by default if all
        have.
    :param only_failed: send only rows whose last outcome is a failure; by default also those never sent.
    :param overwrite: replace what another job, or the same one with another input, left at ``output_path``; by default
        that is an error.
    :param num_shards: in how many parts the job is run, by default 1.
    :param shard: which of them this task is, from 0; needed with several. It takes every ``num_shards``-th row:
        ``.partial(num_shards=8, ...).expand(shard=list(range(8)))``.
    :param timeout: seconds to wait for each answer, by default 1260.
    :param request_retries: how often and how long a request is tried,
        :class:`~airflow_provider_baseten.client.retries.RequestRetries`. Airflow's own ``retry_policy`` is for the
        task.
    :param idempotent: whether a request may be sent again when the model may have run, and been paid for. By default
        only what did not run is sent again.
    :param job_version: any text, by default none. Callables count by their source for whether a run is of the same job;
        with a version they do not count, and another version is another job. Needed for a callable that refers to
        something that can't be compared, such as a client.

    :raises BasetenInputError: an argument is not valid, the input can't be read, or the folder is another job's;
        nothing was sent. A file that is not there yet is looked for again by a retry.
    :raises BasetenBatchError: every row or too many have failed, or the task was stopped. What has an output keeps it.
    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    #: Whether the task runs one of the shards, and has to say which.
    runs_one_shard = True
    template_fields = (*BasetenOperator.template_fields, "inputs", "input_path", "route", "parameters")
    payload_fields = (*BasetenOperator.payload_fields, "inputs", "parameters")

    def __init__(
        self,
        *,
        output_path: str,
        inputs: Iterable[Any] | None = None,
        input_path: "str | PathLike[str] | None" = None,
        output_format: OutputFormat = "jsonl",
        preset: Preset = "predict",
        route: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_input: ModelInput = None,
        output_filter: Callable[[Any], Any] | None = None,
        keep_columns: Sequence[str] = (),
        id_column: str | None = None,
        rows_per_request: int = 1,
        join_inputs: Callable[[list[Any]], Any] | None = None,
        split_output: Callable[[Any], Sequence[Any]] | None = None,
        max_concurrency: int | Literal["auto"] = "auto",
        requests_per_second: float | None = None,
        max_failed_rows: int | None = None,
        max_failure_ratio: float | None = None,
        only_failed: bool = False,
        overwrite: bool = False,
        num_shards: int = 1,
        shard: int | None = None,
        timeout: float = READ_TIMEOUT,
        request_retries: "RequestRetries | None" = None,
        idempotent: bool = False,
        job_version: str | None = None,
        **kwargs: Unpack[TargetArguments],
    ) -> None:
        super().__init__(output_path=output_path, **kwargs)
        self.inputs = inputs
        self.input_path = input_path
        self.output_format = output_format
        self.preset = preset
        self.route = route
        self.parameters = parameters
        self.model_input = model_input
        self.output_filter = output_filter
        self.keep_columns = keep_columns
        self.id_column = id_column
        self.rows_per_request = rows_per_request
        self.join_inputs = join_inputs
        self.split_output = split_output
        self.max_concurrency = max_concurrency
        self.requests_per_second = requests_per_second
        self.max_failed_rows = max_failed_rows
        self.max_failure_ratio = max_failure_ratio
        self.only_failed = only_failed
        self.overwrite = overwrite
        self.num_shards = num_shards
        self.shard = shard
        self.timeout = timeout
        self.request_retries = request_retries
        self.idempotent = idempotent
        self.job_version = job_version
        self._check_options()

    def _check_options(self) -> None:
        """Find what is wrong when the DAG is parsed; stand-ins take the places of what is rendered later."""
        BatchJob(
            target=Target(model_id="rendered"),
            output_path="rendered",
            inputs=None if self.inputs is None else (),
            input_path=None if self.input_path is None else "rendered",
            parameters=None if self.parameters is None else {},
            **self._options,
        )
        if self.runs_one_shard and self.num_shards > 1 and self.shard is None:
            raise BasetenInputError(
                f"num_shards={self.num_shards} without shard would run a part of the rows only: "
                "BasetenBatchPredictGroup runs all shards; a task of your own is mapped with "
                f".partial(num_shards={self.num_shards}, ...).expand(shard=list(range({self.num_shards})))."
            )

    @property
    def _options(self) -> dict[str, Any]:
        shard = 0 if self.shard is None else self.shard
        return {name: getattr(self, name) for name in _OPTIONS} | {"shard": shard}

    def build_job(self) -> BatchJob:
        """Return the job, checked."""
        return BatchJob(
            target=self.target,
            output_path=self.output_path,  # type: ignore[arg-type]
            inputs=self.inputs,
            input_path=self.input_path,
            route=self.route,
            parameters=self.parameters,
            request_retries=self.request_retries,
            headers=self.headers,
            **self._options,
        )

    def execute(self, context: "Context") -> Any:
        """Send the rows that have no output yet, and return the manifest.

        A retry goes on where this attempt ends, however it ends.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        hook = BasetenHook(self.baseten_conn_id)
        return self.run_batch(context, hook, self.build_job()).as_dict()
