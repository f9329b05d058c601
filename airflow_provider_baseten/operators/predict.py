"""Runs a model or a chain and waits for its output."""

import codecs
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.requests import JSON, ContentType, Request
from airflow_provider_baseten.operators.base import BasetenCallOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.results import Output
    from airflow_provider_baseten.transport import OnChunk


class BasetenPredictOperator(BasetenCallOperator):
    """Run a model, or a chain's ``run_remote``, and return its output.

    The output goes to XCom as it is: a JSON value, text for a streaming model, lists for numpy arrays. Bytes, and what
    is larger than ``[baseten] xcom_max_bytes``, are written to the result store of the connection and returned as a
    reference, which :func:`airflow_provider_baseten.results.read_output` reads. The request's id is pushed beside it as
    ``request_id``.

    Holds a worker slot while it waits. When the worker dies the connection breaks and Baseten cancels the work; the
    task's retry sends the request again.

    :param model_input: any JSON value, for a chain an object with the arguments of ``run_remote``; with
        ``content_type="application/octet-stream"`` any msgpack value, numpy arrays included. (templated, not shown
        among the rendered templates)
    :param content_type: ``application/json`` (default), or ``application/octet-stream`` for Truss's msgpack both ways.
    :param log_stream: write the lines of a streaming model's output to the task log as they arrive; by default false.

    Further parameters: see :class:`~airflow_provider_baseten.operators.base.BasetenCallOperator`.

    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    template_fields = (*BasetenCallOperator.template_fields, "model_input")
    payload_fields = (*BasetenCallOperator.payload_fields, "model_input")

    def __init__(
        self,
        *,
        model_input: Any,
        content_type: ContentType = JSON,
        log_stream: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_input = model_input
        self.content_type = content_type
        self.log_stream = log_stream

    def build_request(self, target: "Target") -> Request:
        """Build and check the predict."""
        return requests.predict(
            target,
            self.payload("model_input"),
            content_type=self.content_type,
            headers=self.payload("headers"),
            idempotent=self.idempotent,
        )

    def read_response(self, response: "Response") -> "Output":
        """Decode the model's output."""
        from airflow_provider_baseten.api.responses import model_output
        from airflow_provider_baseten.results import Output

        return Output.of_response(response, model_output(response))

    def on_chunk(self) -> "OnChunk | None":
        """Log the lines of a stream if asked to."""
        return _line_logger(self.log.info) if self.log_stream else None


def _line_logger(info: "Callable[[str, str], object]") -> "OnChunk":
    """Return a listener that logs each whole line of the chunks it is given."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pending = ""

    def listen(chunk: bytes) -> None:
        nonlocal pending
        *lines, pending = (pending + decoder.decode(chunk)).split("\n")
        for line in lines:
            info("%s", line)

    return listen
