"""Spans of calls, bulk runs and waits, in Airflow's own trace.

Airflow 3.2 and newer sets up OpenTelemetry in workers and triggerers if ``[traces] otel_on`` is set, and runs each task
and each trigger in a span. The spans of this module are children of that span. Without Airflow's set-up, they are not
recorded, and nothing is sent.

Names and attributes follow OpenTelemetry's conventions for generative AI. They never hold inputs, outputs, secrets or
texts of errors. A span that can't be recorded never fails a task.

https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.telemetry.calls import CallFacts, target_name
from airflow_provider_baseten.telemetry.openai_fields import request_fields, response_fields

log = logging.getLogger(__name__)

PROVIDER = "baseten"

_TOKENS = {"prompt_tokens": "gen_ai.usage.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens"}

# Most request ids that a span holds.
_MAX_IDS = 20

_tracer = trace.get_tracer("airflow_provider_baseten")


class CallSpan:
    """Span of a call with its retries.

    :param facts: what the request calls.
    :param request: the request. Of its body, only the name of the model is read.
    :param url: URL of the request.
    """

    def __init__(self, facts: CallFacts, request: Request, url: str) -> None:
        self._facts = facts
        attributes = _model_attributes(str(facts.kind), facts.target, url)
        # Without a trace, the body is not read.
        if facts.kind.is_openai and trace.get_current_span().is_recording():
            attributes |= request_fields(request)
        if facts.environment:
            attributes["baseten.environment"] = facts.environment
        if facts.deployment_id:
            attributes["baseten.deployment.id"] = facts.deployment_id
        name = f"{facts.kind} {attributes['gen_ai.request.model']}"
        self._span = _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers with which the server can add its spans to the trace; none if the span is not recorded."""
        return _headers_of(self._span)

    def end(self, response: Response | None, error: BaseException | None, retries: int) -> None:
        """End the span.

        :param response: the successful response, ``None`` if there is none.
        :param error: error of the call, ``None`` if there is none.
        :param retries: number of times that the request was sent again.
        """
        try:
            if self._span.is_recording():
                if error is not None:
                    _fail(self._span, error)
                self._span.set_attributes(self._end_attributes(response, error, retries))
        finally:
            self._span.end()

    def _end_attributes(self, response: Response | None, error: BaseException | None, retries: int) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        source = response if response is not None else error if isinstance(error, BasetenError) else None
        if source is not None and source.status is not None:
            attributes["http.response.status_code"] = source.status
        if source is not None and source.request_id is not None:
            attributes["baseten.request_id"] = source.request_id
        if retries:
            attributes["http.request.resend_count"] = retries
        if response is not None and self._facts.kind.is_openai:
            attributes |= response_fields(response)
        return attributes


class BulkSpan:
    """Span of a bulk run, which has no spans for its calls."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def set_counts(self, *, rows: int, failed: int, requests: int, tokens: Mapping[str, int]) -> None:
        """Set the counts of the run.

        :param rows: rows with an outcome, also of earlier runs of the same job.
        :param failed: rows that have failed.
        :param requests: requests that this run has sent.
        :param tokens: tokens by the names that the server uses.
        """
        counts = {"baseten.rows": rows, "baseten.rows.failed": failed, "baseten.requests": requests}
        for name, attribute in _TOKENS.items():
            if name in tokens:
                counts[attribute] = tokens[name]
        self._span.set_attributes(counts)


@contextmanager
def bulk_span(operation: str, target: Target | ModelApis, model: object, url: str) -> Iterator[BulkSpan]:
    """Record the ``with`` block, which makes a bulk run, as a span.

    :param operation: what the run does with each row, for example ``chat``.
    :param model: ``model`` of the requests, ``None`` if they have none.
    :param url: URL of the host that is called.
    """
    attributes = _model_attributes(operation, target_name(target), url)
    if isinstance(model, str):
        attributes["gen_ai.request.model"] = model
    name = f"bulk {operation} {attributes['gen_ai.request.model']}"
    with (
        _recorded(name, SpanKind.CLIENT, attributes) as span,
        trace.use_span(span, record_exception=False, set_status_on_exception=False),
    ):
        yield BulkSpan(span)


@contextmanager
def wait_span(target: Target, request_ids: Sequence[str], outcomes: Mapping[str, str]) -> Iterator[None]:
    """Record the ``with`` block, which waits for async requests, as a span.

    :param outcomes: outcomes of the requests by id, which the block fills.
    """
    attributes = {
        "gen_ai.provider.name": PROVIDER,
        "baseten.target": target_name(target),
        "baseten.request_ids": [*request_ids[:_MAX_IDS]],
        "baseten.requests": len(request_ids),
    }
    with _recorded(f"wait {target_name(target)}", SpanKind.INTERNAL, attributes) as span:
        try:
            yield
        finally:
            for outcome in {*outcomes.values()}:
                number = sum(found == outcome for found in outcomes.values())
                span.set_attribute(f"baseten.requests.{outcome}", number)


def current_headers() -> dict[str, str]:
    """Return the HTTP headers that name the current span as the parent; none if it is not recorded."""
    return _headers_of(trace.get_current_span())


def _headers_of(span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    if span.is_recording():
        TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(span))
    return headers


@contextmanager
def _recorded(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Iterator[Span]:
    try:
        span = _tracer.start_span(name, kind=kind, attributes=attributes)
    except Exception:  # A sampler or a span processor may raise anything.
        log.debug("The span %s could not be started.", name, exc_info=True)
        span = trace.INVALID_SPAN
    try:
        yield span
    except BaseException as error:
        _fail(span, error)
        raise
    finally:
        try:
            span.end()
        except Exception:
            log.debug("The span %s could not be ended.", name, exc_info=True)


def _fail(span: Span, error: BaseException) -> None:
    # Without the text of the error, which may quote the server.
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR)


def _model_attributes(operation: str, target: str, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": target,
        "baseten.target": target,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
