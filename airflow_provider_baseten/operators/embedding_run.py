"""Embedding run: the vectors of more texts than fit into one request."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.openai import embeddings
from airflow_provider_baseten.api.openai.completion import token_count
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.part_rows import read_rows
from airflow_provider_baseten.exceptions import BasetenOutputError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.operators.batch_run import summary_of
from airflow_provider_baseten.storage import files, outputs
from airflow_provider_baseten.storage.encoding import Output
from airflow_provider_baseten.storage.result_store import ResultStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator


def embed_many(operator: "BasetenEmbeddingOperator", context: "Context", texts: list[str]) -> Any:
    """Send texts in several requests as a bulk run, and return their vectors or a reference to their file.

    A retry sends only the texts without a vector.

    :raises BasetenBatchError: a text has failed, or the task was stopped.
    :raises BasetenOutputError: no text has failed, but a vector is missing, or the vectors differ in length.
    """
    operator.normalize_paths()
    hook = BasetenHook(operator.baseten_conn_id)
    store = hook.connection.result_store
    if operator.output_path:
        with files.consequence("Nothing was sent."):
            files.check_writable(operator.output_path)
    job = BatchJob(
        target=operator.target,
        inputs=texts,
        output_path=_folder(context, store),
        preset="embeddings",
        parameters=embeddings.build_parameters(operator.model, operator.dimensions),
        rows_per_request=operator.texts_per_request,
        max_failed_rows=0,
        overwrite=True,
        timeout=operator.timeout,
        headers=operator.headers,
        idempotent=operator.idempotent,
    )
    manifest = operator.run_batch(context, hook, job)
    summary = summary_of(manifest, target=job.target, model=operator.model, is_counted=operator.was_complete)
    if operator.do_xcom_push:
        usage = {name: token_count(manifest.usage, name) for name in ("prompt_tokens", "total_tokens")}
        context["ti"].xcom_push(key="usage", value=usage)
    elif not operator.output_path:
        operator.finish(context, summary)
        return None
    with files.consequence(
        f"The next attempt reads {job.output_path} again and sends nothing: to send all texts again, delete the folder."
    ):
        vectors = _vectors(manifest, job, len(texts))
    with files.consequence(
        f"The vectors are kept in {job.output_path}: the next attempt reads them and sends nothing."
    ):
        returned = outputs.save_output(
            Output.of_value(vectors),
            None,
            output_path=operator.output_path,
            result_store=store,
            baseten_conn_id=operator.baseten_conn_id,
        )
    operator.finish(context, replace(summary, outputs=outputs.stored_uris(returned)))
    return returned


def _folder(context: "Context", result_store: str | None) -> str:
    """Return the URI of the folder for the vectors of a task instance. A cleared task instance gets another folder."""
    return ResultStore(result_store).folder(f"embeddings/{identity_of(context).key_until_clear}").uri


def _vectors(manifest: "Manifest", job: BatchJob, count: int) -> list[list[float]]:
    """Return the vectors of a complete run in the order of its texts.

    :raises BasetenOutputError: a vector is missing, or the vectors differ in length. A retry would read the same
        vectors, so the error is permanent.
    """
    found = {row.number: embeddings.parse_vector(row.output) for row in read_rows(manifest.parts)}
    vectors = [vector for index in range(count) if (vector := found.get(index)) is not None]
    lengths = sorted(set(map(len, vectors)))
    if len(vectors) == count and len(lengths) <= 1:
        return vectors
    problem = (
        f"{count - len(vectors):,} of the {count:,} texts have no vector of finite numbers"
        if len(vectors) < count
        else f"the vectors have different lengths, from {lengths[0]:,} to {lengths[-1]:,} numbers"
    )
    error = BasetenOutputError(
        f"Embeddings of {job.target}: {problem}. They are kept in {job.output_path}, and a retry would read the same "
        "ones. Check what the model returns, then clear the task: it sends all texts again.",
        may_have_run=True,
    )
    error.is_permanent = True
    raise error
