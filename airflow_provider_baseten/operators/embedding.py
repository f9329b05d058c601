"""Makes vectors of texts."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_baseten.api import embeddings
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.base import BasetenCallOperator
from airflow_provider_baseten.operators.batch_run import RunsBatch

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.requests import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.results import Output


class BasetenEmbeddingOperator(RunsBatch, BasetenCallOperator):
    """Make vectors of texts with a model behind an OpenAI-compatible server, and return them or where they are.

    What is asked is a model with a route ``/v1/embeddings`` (BEI, or a Truss with an ``embeddings`` method).

    A text gives a vector, a list of at most ``texts_per_request`` a list of vectors in the same order. They are made by
    one request and go to XCom. What is larger than ``[baseten] xcom_max_bytes`` is written to the result store of the
    connection as JSON and returned as a reference, which :func:`airflow_provider_baseten.results.read_output` reads. A
    retry of the task sends the request again.

    A longer list, and every list with ``output_path``, goes through the bulk engine: many requests at once, parts of
    about 1,000 vectors in a folder, ``output_path`` or one in the result store, with the members ``row`` (number of the
    text, from 0) and ``output`` (its vector). The task returns the manifest,
    :class:`~airflow_provider_baseten.batch.manifest.Manifest` as an object, and fails if a text has no vector. A retry
    sends only texts that have none yet.

    Beside it are pushed ``usage`` with ``prompt_tokens`` and ``total_tokens``, and for one request its ``request_id``.

    :param texts: a text, or a list of texts. (templated, not shown among the rendered templates)
    :param model: name under which the server serves the model, by default ``baseten``, which servers of one model
        ignore. (templated)
    :param dimensions: length of the vectors, for models that can shorten them; by default the model's own.
    :param texts_per_request: most texts in one request, by default 32.
    :param output_format: of the parts: ``jsonl`` (default), or ``parquet`` with vectors of 32-bit floats, which needs
        the extra ``parquet``.

    Further parameters: see :class:`~airflow_provider_baseten.operators.base.BasetenCallOperator`.

    :raises BasetenBatchError: a text has no vector, or the task was stopped.
    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/engines/bei/overview
    """

    template_fields = (*BasetenCallOperator.template_fields, "texts", "model")
    payload_fields = (*BasetenCallOperator.payload_fields, "texts")

    def __init__(
        self,
        *,
        texts: str | Sequence[str],
        model: str | None = None,
        dimensions: int | None = None,
        texts_per_request: int = 32,
        output_format: Literal["jsonl", "parquet"] = "jsonl",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(texts_per_request, int) or texts_per_request < 1:
            raise BasetenInputError(f"texts_per_request={texts_per_request!r} is not a whole number from 1 on.")
        if output_format not in {"jsonl", "parquet"}:
            raise BasetenInputError(f"output_format={output_format!r} is not one of 'jsonl' and 'parquet'.")
        self.texts = texts
        self.model = model
        self.dimensions = dimensions
        self.texts_per_request = texts_per_request
        self.output_format = output_format

    def execute(self, context: "Context") -> Any:
        """Make the vectors by one request, or through the bulk engine."""
        texts = embeddings.checked_texts(self.payload("texts"))
        if isinstance(texts, str) or (len(texts) <= self.texts_per_request and not self.output_path):
            return super().execute(context)
        return self._embed_in_bulk(context, texts)

    def build_request(self, target: "Target") -> "Request":
        """Build and check the request."""
        return embeddings.embeddings(
            target,
            embeddings.checked_texts(self.payload("texts")),
            model=self.model,
            dimensions=self.dimensions,
            headers=self.payload("headers"),
            idempotent=self.idempotent,
        )

    def notes(self, response: "Response") -> dict[str, Any]:
        """Return what is pushed beside the vectors."""
        return {**super().notes(response), "usage": embeddings.read_usage(response)}

    def read_response(self, response: "Response") -> "Output":
        """Check the answer and return its vectors."""
        from airflow_provider_baseten.results import Output

        texts = self.payload("texts")
        if isinstance(texts, str):
            return Output.of_value(embeddings.read_embeddings(response, 1)[0])
        return Output.of_value(embeddings.read_embeddings(response, len(texts)))

    def _embed_in_bulk(self, context: "Context", texts: list[str]) -> dict[str, Any] | None:
        from airflow_provider_baseten.batch.job import BatchJob
        from airflow_provider_baseten.hooks.baseten import BasetenHook

        hook = BasetenHook(self.baseten_conn_id)
        job = BatchJob(
            target=hook.located(self.target),
            inputs=texts,
            output_path=self.output_path or _folder(context, hook.connection.result_store),
            output_format=self.output_format,
            preset="embeddings",
            parameters=embeddings.parameters(self.model, self.dimensions),
            rows_per_request=self.texts_per_request,
            max_failed_rows=0,
            overwrite=self.output_path is None,
            timeout=self.timeout,
            headers=self.payload("headers"),
            idempotent=self.idempotent,
        )
        manifest = self.run_batch(context, hook, job)
        if not self.do_xcom_push:
            return None
        context["ti"].xcom_push(key="usage", value=manifest.usage)
        return manifest.as_dict()


def _folder(context: "Context", result_store: str | None) -> str:
    """Return the URI of a folder that belongs to this task instance, whichever its attempt."""
    from airflow_provider_baseten import results

    ti: Any = context["ti"]
    name = hashlib.sha256(repr((ti.dag_id, ti.run_id, ti.task_id, ti.map_index)).encode()).hexdigest()[:32]
    return f"{(result_store or results.default_store()).rstrip('/')}/outputs/{name}"
