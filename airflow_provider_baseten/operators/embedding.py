"""Operator for embeddings: vectors of texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.openai import embeddings
from airflow_provider_baseten.api.openai.completion import token_count
from airflow_provider_baseten.arguments import check_count, check_texts, given
from airflow_provider_baseten.exceptions import BasetenOutputError, BasetenResponseError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.operators.batch_run import BatchRunMixin
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments
from airflow_provider_baseten.storage import files, outputs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.storage.encoding import Output


class BasetenEmbeddingOperator(BatchRunMixin, BasetenRequestOperator):
    """Return the vectors of texts, made by a model behind an OpenAI-compatible server.

    The model has a route ``/v1/embeddings`` (BEI, or a Truss with an ``embeddings`` method).

    The output for one text is its vector; the output for a list of texts is a list of vectors in the same order. The
    output goes to XCom. With ``output_path``, or if the output is larger than ``[baseten] xcom_max_bytes``, it is
    written to one JSON file, and the task returns a reference, which
    :func:`airflow_provider_baseten.storage.outputs.read_output` reads.

    Up to ``texts_per_request`` texts are sent in one request, and a retry of the task sends that request again. More
    texts are sent in several concurrent requests. Their vectors are written to the folder ``embeddings`` of the result
    store as they arrive, so that a retry sends only the texts without a vector. The task fails if a text has no vector
    in the end. The worker holds all vectors in memory. For many texts, or for vectors in Parquet files, use
    :class:`~airflow_provider_baseten.operators.batch_predict.BasetenBatchPredictOperator` with
    ``preset="embeddings"``.

    The XCom ``usage`` with ``prompt_tokens`` and ``total_tokens`` is pushed in addition, and for a single request its
    ``request_id``. If there were several requests, ``usage`` counts those of this attempt.

    Its other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param texts: a text, or a list of texts. (templated, not shown among the rendered templates)
    :param model: name of the model on the server; by default ``baseten``, which a server with one model ignores.
        (templated)
    :param dimensions: length of the vectors, for models that can shorten them; by default the model's own length.
        Vectors of another length are an error.
    :param texts_per_request: maximum number of texts in one request, by default 32.

    :raises BasetenBatchError: with several requests: a text has no vector, or the task was stopped.
    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/engines/bei/overview
    """

    template_fields = (*BasetenRequestOperator.template_fields, "texts", "model")
    payload_fields = (*BasetenRequestOperator.payload_fields, "texts")

    def __init__(
        self,
        *,
        texts: str | Sequence[str],
        model: str | None = None,
        dimensions: int | None = None,
        texts_per_request: int = 32,
        **kwargs: Unpack[RequestArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_texts(**given(model=model))
        check_count("texts_per_request", texts_per_request, 1)
        if dimensions is not None:
            check_count("dimensions", dimensions, 1, embeddings.MOST_DIMENSIONS)
        self.texts = texts
        self.model = model
        self.dimensions = dimensions
        self.texts_per_request = texts_per_request

    def run_task(self, context: "Context") -> Any:
        """Send one request or several, and return the vectors or a reference to their file."""
        texts = embeddings.checked_texts(self.texts)
        if isinstance(texts, str) or len(texts) <= self.texts_per_request:
            return super().run_task(context)
        return self._embed_many(context, texts)

    def build_request(self) -> "Request":
        """Return the request for the vectors of all texts, checked.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return embeddings.build_embeddings(
            self.target,
            embeddings.checked_texts(self.texts),
            model=self.model,
            dimensions=self.dimensions,
            headers=self.headers,
            idempotent=self.idempotent,
        )

    def extra_xcoms(self, response: "Response") -> dict[str, Any]:
        """Return the XComs ``request_id`` and ``usage``."""
        try:
            return {**super().extra_xcoms(response), "usage": embeddings.read_usage(response)}
        except BasetenResponseError:  # read_response raises it again.
            return super().extra_xcoms(response)

    def read_response(self, response: "Response") -> "Output":
        """Return the vectors in the response, checked."""
        from airflow_provider_baseten.storage.encoding import Output

        texts = self.texts
        if isinstance(texts, str):
            return Output.of_value(embeddings.read_embeddings(response, 1, self.dimensions)[0])
        return Output.of_value(embeddings.read_embeddings(response, len(texts), self.dimensions))

    def _embed_many(self, context: "Context", texts: list[str]) -> Any:
        from airflow_provider_baseten.batch.job import BatchJob
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.storage.encoding import Output

        self.normalize_output_path()
        hook = BasetenHook(self.baseten_conn_id)
        store = hook.connection.result_store
        if self.output_path:
            with files.consequence("Nothing was sent."):
                files.check_writable(self.output_path)
        job = BatchJob(
            target=self.target,
            inputs=texts,
            output_path=_folder(context, store),
            preset="embeddings",
            parameters=embeddings.build_parameters(self.model, self.dimensions),
            rows_per_request=self.texts_per_request,
            max_failed_rows=0,
            overwrite=True,
            timeout=self.timeout,
            headers=self.headers,
            idempotent=self.idempotent,
        )
        manifest = self.run_batch(context, hook, job)
        if self.do_xcom_push:
            usage = {name: token_count(manifest.usage, name) for name in ("prompt_tokens", "total_tokens")}
            context["ti"].xcom_push(key="usage", value=usage)
        elif not self.output_path:
            return None
        with files.consequence(
            f"The vectors are kept in {job.output_path}: the next attempt reads them and sends nothing."
        ):
            output = Output.of_value(_vectors(manifest, len(texts)))
            return outputs.to_xcom(
                output,
                None,
                output_path=self.output_path,
                result_store=store,
                baseten_conn_id=self.baseten_conn_id,
            )


def _folder(context: "Context", result_store: str | None) -> str:
    """Return the URI of the folder of a task instance, which all attempts share until the task instance is cleared."""
    from airflow_provider_baseten.storage.result_store import default_store

    name = identity_of(context).key_until_clear
    return f"{(result_store or default_store()).rstrip('/')}/embeddings/{name}"


def _vectors(manifest: "Manifest", count: int) -> list[list[float]]:
    """Return the vectors of a complete run in the order of its texts."""
    from airflow_provider_baseten.storage.storage_folder import StorageFolder

    found: dict[int, list[float] | None] = {}
    for uri in manifest.parts:
        folder, _, name = uri.rpartition("/")
        with StorageFolder(folder).open(name) as lines:
            for line in lines:
                row = exact_json.decode(line)
                found[row["row"]] = embeddings.parse_vector(row["output"])
    vectors = [vector for index in range(count) if (vector := found.get(index)) is not None]
    if len(vectors) < count or len(set(map(len, vectors))) > 1:
        raise BasetenOutputError(
            f"The model did not return one vector of the same length for each of the {count} texts; its outputs are in "
            f"{', '.join(manifest.parts[:3])}.",
            may_have_run=True,
        )
    return vectors
