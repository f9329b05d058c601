"""Plan of a run: a job and the values that are derived from it once, before the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.batch.formats import PART_FORMATS, PartFormat
from airflow_provider_baseten.batch.job import BatchJob, ModelInput
from airflow_provider_baseten.batch.presets import RequestFormat, request_format_of
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.batch.row_json import encode_value
from airflow_provider_baseten.batch.row_outputs import sends_floats
from airflow_provider_baseten.batch.template import Template
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """A compiled job: the job and all values that are derived from it once, before the run.

    :param job: the job.
    :param request_format: how rows become requests, and responses become outputs.
    :param request: a request without its body. All requests of the run differ from it only in the body.
    :param parameters: the job's parameters as JSON values.
    :param input_of: returns the model input of a row.
    :param input_columns: columns that the model input is made of; ``None`` if any column may be used.
    :param kept_columns: columns that are copied to the output.
    :param sends_rows_unchanged: whether each row is sent unchanged, as the body of a request of its own.
    :param part_format: format of the parts with outputs.
    :param packs_vectors: whether outputs are vectors, and are written to the parts as packed 32-bit floats.
    """

    job: BatchJob
    request_format: RequestFormat
    request: Request
    parameters: Mapping[str, Any]
    input_of: Callable[[Row], Any]
    input_columns: frozenset[str] | None
    kept_columns: tuple[str, ...]
    sends_rows_unchanged: bool
    part_format: PartFormat
    packs_vectors: bool

    @classmethod
    def of(cls, job: BatchJob) -> "BatchPlan":
        """Compile a job.

        :raises BasetenInputError: the route or a header is not valid.
        """
        request_format = request_format_of(job)
        input_of, input_columns = _compiled(job.model_input)
        part_format = PART_FORMATS[job.output_format]
        has_vectors = job.preset == "embeddings" and job.output_filter is None and sends_floats(job.parameters)
        return cls(
            job=job,
            request_format=request_format,
            request=_request_of(job, request_format),
            parameters=exact_json.decode(encode_value("parameters", job.parameters or {})),
            input_of=input_of,
            input_columns=input_columns,
            kept_columns=tuple(dict.fromkeys([*([job.id_column] if job.id_column else []), *job.keep_columns])),
            sends_rows_unchanged=job.model_input is None
            and request_format.sends_inputs_unchanged
            and job.rows_per_request == 1,
            part_format=part_format,
            packs_vectors=has_vectors and part_format.packs_vectors,
        )

    @property
    def named_columns(self) -> frozenset[str]:
        """Columns that the job mentions by name, as part of the model input or to be copied to the output."""
        return (self.input_columns or frozenset()).union(self.kept_columns)

    @property
    def read_columns(self) -> frozenset[str] | None:
        """Columns that have to be read; ``None`` for all."""
        return None if self.input_columns is None else self.named_columns


def _request_of(job: BatchJob, request_format: RequestFormat) -> Request:
    route = job.route or request_format.route
    if route is None:  # For the Model APIs, build_predict raises an error, because they need a route.
        return build_predict(cast("Target", job.target), {}, headers=job.headers, idempotent=job.idempotent)
    return build_sync_route(job.target, route, method="POST", json={}, headers=job.headers, idempotent=job.idempotent)


def _compiled(model_input: ModelInput) -> tuple[Callable[[Row], Any], frozenset[str] | None]:
    """Return the function that makes a row's input, and the columns that the function reads.

    The columns are ``None`` if the function may read any column.
    """
    if model_input is None:
        return lambda row: row.value, None
    if isinstance(model_input, str):
        return lambda row: row.column(model_input), frozenset({model_input})
    if callable(model_input):
        return partial(_called, model_input), None
    template = Template(model_input)
    return lambda row: template.fill(row.column), frozenset(template.columns)


def _called(function: Callable[[Any], Any], row: Row) -> Any:
    value = row.value
    try:
        return function(value)
    except BasetenError:
        raise
    except Exception as error:
        raise BasetenInputError(f"model_input {raised(error)} for {row}.") from None
