"""Operator for embeddings: vectors of texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.arguments import check_count, check_texts, given
from airflow_provider_baseten.exceptions import BasetenResponseError
from airflow_provider_baseten.operators.batch_run import BatchRunMixin
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.storage.encoding import Output

# Largest accepted value of `dimensions`, far above the number of dimensions of any model.
_MAX_DIMENSIONS = 1_000_000


class BasetenEmbeddingOperator(BatchRunMixin, BasetenRequestOperator):
    """Return the vectors of texts, made by a model behind an OpenAI-compatible server.

    The model has a route ``/v1/embeddings`` (BEI, or a Truss with an ``embeddings`` method).

    The output for one text is its vector; the output for a list of texts is a list of vectors in the same order. The
    output goes to XCom. With ``output_path``, or if the output is larger than ``[baseten] xcom_max_bytes``, it is
    written to one JSON file, and the task returns a reference, which
    :func:`airflow_provider_baseten.storage.outputs.read_output` reads.

    If there are at most ``texts_per_request`` texts, the task sends one request, and a retry sends this request again.
    If there are more texts, the task sends several requests at once, and fails as soon as one text has failed. In this
    case, the vectors are written to the folder ``embeddings`` of the result store after every 1,000 vectors or 30
    seconds, and a retry sends only the texts whose vectors were not written. The worker holds all vectors in memory.
    For many texts, or for vectors in Parquet files, use
    :class:`~airflow_provider_baseten.operators.batch_predict.BasetenBatchPredictOperator` with
    ``preset="embeddings"``.

    The XCom ``usage`` with ``prompt_tokens`` and ``total_tokens`` is pushed in addition. If the task sends one request,
    the XCom ``request_id`` is pushed too. If it sends several requests, ``usage`` counts tokens of this attempt only.

    The operator's other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param texts: a text, or a list of texts. (templated, not shown among the rendered templates)
    :param model: name of the model on the server; by default ``baseten``, which a server with one model ignores.
        (templated)
    :param dimensions: length of the vectors, for models that can shorten them; by default the model's own length.
        Vectors of another length are an error.
    :param texts_per_request: maximum number of texts in one request, by default 32.

    :raises BasetenBatchError: a text has failed, or the task was stopped. Raised only if the texts are sent in several
        requests.
    :raises BasetenError: a subclass for each kind of failure, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/engines/bei/overview
    """

    template_fields = (*BasetenRequestOperator.template_fields, "texts", "model")
    hidden_fields = (*BasetenRequestOperator.hidden_fields, "texts")

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
            check_count("dimensions", dimensions, 1, _MAX_DIMENSIONS)
        self.texts = texts
        self.model = model
        self.dimensions = dimensions
        self.texts_per_request = texts_per_request

    def run_task(self, context: "Context") -> Any:
        """Send one request or several, and return the vectors or a reference to their file."""
        from airflow_provider_baseten.api.openai.embeddings import checked_texts
        from airflow_provider_baseten.operators.embedding_run import embed_many

        texts = checked_texts(self.texts)
        if isinstance(texts, str) or len(texts) <= self.texts_per_request:
            return super().run_task(context)
        return embed_many(self, context, texts)

    def build_request(self) -> "Request":
        """Return the request for the vectors of all texts, checked.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        from airflow_provider_baseten.api.openai.embeddings import build_embeddings, checked_texts

        return build_embeddings(
            self.target,
            checked_texts(self.texts),
            model=self.model,
            dimensions=self.dimensions,
            headers=self.headers,
            idempotent=self.idempotent,
        )

    def extra_xcoms(self, response: "Response") -> dict[str, Any]:
        """Return the XComs ``request_id`` and ``usage``."""
        from airflow_provider_baseten.api.openai.embeddings import read_usage

        try:
            return {**super().extra_xcoms(response), "usage": read_usage(response)}
        except BasetenResponseError:  # read_response reports this error.
            return super().extra_xcoms(response)

    def read_response(self, response: "Response") -> "Output":
        """Return the vectors in the response, checked."""
        from airflow_provider_baseten.api.openai.embeddings import read_embeddings
        from airflow_provider_baseten.storage.encoding import Output

        texts = self.texts
        if isinstance(texts, str):
            return Output.of_value(read_embeddings(response, 1, self.dimensions)[0])
        return Output.of_value(read_embeddings(response, len(texts), self.dimensions))
