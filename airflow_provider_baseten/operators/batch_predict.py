"""Operator that runs a model over many rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Required, Unpack

from airflow_provider_baseten.api.http import READ_TIMEOUT
from airflow_provider_baseten.arguments import check_paths, given, path_text
from airflow_provider_baseten.batch.job import BatchJob, ModelInput, OutputFormat, Preset, check_before_rendering
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.airflow_options import AirflowOptions, DecoratorOptions
from airflow_provider_baseten.operators.base import BasetenCallOperator, CallArguments, CallOptions
from airflow_provider_baseten.operators.batch_run import BatchRunMixin, summary_of

if TYPE_CHECKING:
    from os import PathLike

    from airflow.sdk import Context

    from airflow_provider_baseten.client.retries import RequestRetries

# Arguments of BatchJob that BasetenBatchPredictOperator stores as attributes. BasetenCallOperator provides the others.
_OPTIONS = [f.name for f in fields(BatchJob) if f.name not in {"target", "output_path", "headers"}]


class BatchOptions(CallOptions, total=False):
    """Arguments of :class:`BasetenBatchPredictOperator` except those of the input, the output folder and the shards."""

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
    """Arguments that ``BasetenBatchPredictGroup`` passes on to its tasks."""


class BatchTaskOptions(BatchOptions, DecoratorOptions, total=False):
    """Arguments of the decorator: those of :class:`BasetenBatchPredictOperator` except its input."""

    output_path: Required[str]
    num_shards: int
    shard: int | None


class BasetenBatchPredictOperator(BatchRunMixin, BasetenCallOperator):
    """Run a model over many rows; return a manifest with the URIs of the outputs and the number of failed rows.

    Rows are read as a stream from a file, a folder or a list. Many requests are in flight at once. The outputs are
    written in parts: files of about 1,000 rows. If a row still fails after the retries of its request, its error is
    written to a separate file for failed rows. The other rows are not affected. The task fails if every row has failed.
    The manifest, with the fields of :class:`~airflow_provider_baseten.batch.manifest.Manifest`, is written last.

    The task holds a worker slot while it runs. A retry, or another run with the same arguments, sends only the rows
    without an output. If a worker was killed, the rows that were in flight, or in a part that was not written yet, are
    sent and paid for again. A task that is stopped, or whose ``execution_timeout`` has passed, writes its last part
    within 5 seconds. A changed input or argument is an error if ``overwrite`` is not set.

    Every 10 seconds the task logs its progress, and writes it to the XCom ``baseten_bulk_job``, which Baseten's pages
    in Airflow's UI show.

    The operator's other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``retry_policy`` and Airflow's own.

    :param inputs: the rows, as a list, another iterable, or the output of a task. A row can be any JSON value. Exactly
        one of ``inputs`` and ``input_path`` is given. (templated, not shown among the rendered templates)
    :param input_path: URI or local path of a ``.jsonl``, ``.csv`` or ``.parquet`` file (the first two also compressed:
        ``.gz``, ``.zst``), a folder of them or a glob. (templated)
    :param output_path: URI or local path of a folder for parts and manifest; one folder for each job. (templated)
    :param output_format: ``jsonl`` (default) or ``parquet``.
    :param preset: how rows become requests and responses become outputs: ``predict`` (default), ``chat``,
        ``embeddings``, ``classify`` or ``rerank``.
    :param route: path on a custom server, for example ``v1/rank``. By default the preset decides what is called.
        (templated)
    :param parameters: fields that a preset adds to each request body, for example ``{"max_tokens": 100}``; fields of
        the row take precedence. (templated, not shown)
    :param model_input: model input of a row: the row itself (``None``, default), the name of a column, an object or
        list whose strings name columns in braces (``{"text": "{title}: {body}", "top": 3}``), or a function that takes
        the row and returns the input.
    :param output_filter: function that takes the output of a row and returns the output to write; by default the
        output is written unchanged.
    :param keep_columns: columns of the input that are copied to the output files, by default none.
    :param id_column: column that is copied to the output files and has a different value in every row; a row that
        repeats a value fails and is not sent. By default none.
    :param rows_per_request: number of rows in one request, by default 1.
    :param join_inputs: for the preset ``predict``: function that takes a list of inputs and returns the body of their
        request; by default the body is the list.
    :param split_output: for the preset ``predict``: function that takes the decoded response and returns a list with
        one output for each row; by default the response is this list.
    :param max_concurrency: maximum number of requests in flight, or ``auto`` (default), which measures how many the
        server can process.
    :param requests_per_second: maximum number of requests per second; by default there is no limit.
    :param max_failed_rows: maximum number of failed rows in the task's shard. The task fails as soon as this number is
        exceeded. By default there is no limit.
    :param max_failure_ratio: fraction of the rows, from 0 to 1; the task fails if a larger fraction has failed. By
        default it fails only if all rows have failed.
    :param only_failed: send only rows whose last outcome is a failure. By default rows that were never sent are sent
        too.
    :param overwrite: replace the files of another job at ``output_path``. A job with another input or other options is
        another job. By default such files are an error.
    :param num_shards: number of shards that the job is split into, by default 1.
    :param shard: number of the shard that this task runs, from 0; required if there are several shards. The shard takes
        every ``num_shards``-th row: ``.partial(num_shards=8, ...).expand(shard=list(range(8)))``.
    :param timeout: seconds to wait for each response, by default 1260.
    :param request_retries: :class:`~airflow_provider_baseten.client.retries.RequestRetries`, which decide how a request
        is sent again within one attempt of the task. ``retry_policy`` decides about further attempts.
    :param idempotent: whether a request may be sent again after a failure in which the model may have run. The rows of
        such a request may be charged for twice. By default a request is sent again only if the model did not run.
    :param job_version: any text that names the version of the functions above. By default, a change to the source of
        one of the functions makes the job another job. With ``job_version``, the versions are compared instead of the
        functions. ``job_version`` is required if a function refers to an object that can't be compared, such as a
        client.

    :raises BasetenInputError: an argument is not valid, the input can't be read, or the folder belongs to
        another job; nothing was sent. A retry of the task helps only if an input file did not exist yet.
    :raises BasetenBatchError: every row or too many rows have failed, or the task was stopped. The outputs are kept.
    :raises BasetenError: a subclass for each kind of failure, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    #: Whether the task runs one shard. If it does, and the job has several shards, ``shard`` is required.
    runs_one_shard = True
    num_shards: int
    shard: int | None
    template_fields = (*BasetenCallOperator.template_fields, "inputs", "input_path", "route", "parameters")
    hidden_fields = (*BasetenCallOperator.hidden_fields, "inputs", "parameters")
    native_fields = (*BasetenCallOperator.native_fields, "inputs", "parameters")

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
        **kwargs: Unpack[CallArguments],
    ) -> None:
        arguments = locals()
        super().__init__(output_path=output_path, **kwargs)
        for name in _OPTIONS:
            setattr(self, name, arguments[name])
        check_paths(**given(input_path=input_path))
        check_before_rendering(target="rendered later", **self._job_arguments)
        if self.runs_one_shard and num_shards > 1 and shard is None:
            raise BasetenInputError(
                f"num_shards={num_shards} without shard would run only a part of the rows: "
                "BasetenBatchPredictGroup runs all shards; a task of your own is mapped with "
                f".partial(num_shards={num_shards}, ...).expand(shard=list(range({num_shards})))."
            )

    @property
    def _job_arguments(self) -> dict[str, Any]:
        """Arguments of the job, except its target."""
        arguments = {name: getattr(self, name) for name in _OPTIONS}
        shard = 0 if self.shard is None else self.shard
        return arguments | {"shard": shard, "output_path": self.output_path, "headers": self.headers}

    def build_job(self) -> BatchJob:
        """Return the job, checked."""
        return BatchJob(target=self.target, **self._job_arguments)

    def run_task(self, context: "Context") -> Any:
        """Send the rows that have no output yet, and return the manifest.

        A retry continues the job, even after a crash: rows whose outputs were written are not sent again.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        job = self.build_job()
        manifest = self.run_batch(context, BasetenHook(self.baseten_conn_id), job)
        summary = summary_of(
            manifest,
            target=job.target,
            model=(job.parameters or {}).get("model"),
            inputs=() if job.input_path is None else (path_text("input_path", job.input_path),),
            outputs=(path_text("output_path", self.output_path),),
            is_counted=self.was_complete,
        )
        self.finish(context, summary)
        return manifest.as_dict()
