"""Attributes of spans, and what is never in them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.openai.chat import build_chat_completion
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.exceptions import BasetenRateLimitError
from airflow_provider_baseten.telemetry import spans
from airflow_provider_baseten.telemetry.observer import AIRFLOW_OBSERVER
from airflow_provider_baseten.telemetry.openai_fields import request_fields, response_fields

URL = "https://inference.baseten.co/v1"
INPUT, OUTPUT = "canaryinput", "canaryoutput"
CHAT = build_chat_completion(ModelApis(), [{"role": "user", "content": INPUT}], model="org/llama-3", stream=True)
PREDICT = build_predict(Target(model_id="abc", deployment_id="d1"), {"model": INPUT})
DEEP = b'{"tools": ' + b"[" * 5000 + b"]" * 5000 + b"}"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture
def exported(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans that have ended, with a span of a task around them."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("tests"))
    with provider.get_tracer("airflow").start_as_current_span("worker.task"):
        yield exporter


def answer(request: Request, body: Any, content_type: str = "application/json", **headers: str) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(request=request, status=200, headers={"content-type": content_type} | headers, body=content)


def call(request: Request, response: Response | None = None, error: BaseException | None = None) -> dict[str, str]:
    """Make a call that the observer sees, and return the headers that it adds."""
    observed = AIRFLOW_OBSERVER.begin_call(request, URL)
    headers = observed.headers()
    observed.end_attempt(0.1, error)
    observed.end(response, error)
    return {**headers}


def one(exporter: InMemorySpanExporter) -> Any:
    (span,) = exporter.get_finished_spans()
    return span


def completion(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": OUTPUT}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "chatcmpl-1", "model": "org/llama-3.1", "choices": choices, "usage": USAGE} | fields


FIELDS = {
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "org/llama-3.1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 9,
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.reasoning.output_tokens": 4,
}


def test_a_chat_completion(exported):
    call(CHAT, answer(CHAT, completion(), **{"x-baseten-request-id": "r1"}))
    span = one(exported)
    assert span.name == "chat org/llama-3"
    assert {**span.attributes} == FIELDS | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "baseten",
        "gen_ai.request.model": "org/llama-3",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "baseten.target": "model_apis",
        "baseten.request_id": "r1",
        "server.address": "inference.baseten.co",
        "server.port": 443,
        "http.response.status_code": 200,
    }


def test_a_streamed_completion():
    chunks = [{"choices": [{"index": 0, "delta": {"content": OUTPUT}, "finish_reason": None}]}] * 20
    first = {"id": "chatcmpl-1", "model": "org/llama-3.1", "choices": []}
    last = [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": USAGE}]
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in (first, *chunks, *last)] + ["data: [DONE]\n\n"]
    assert response_fields(answer(CHAT, "".join(events).encode(), "text/event-stream")) == FIELDS


def test_a_predict_of_a_deployment(exported):
    call(PREDICT, answer(PREDICT, {"id": OUTPUT, "model": OUTPUT, "usage": {"prompt_tokens": 1}}))
    span = one(exported)
    assert span.name == "predict abc"
    assert span.attributes["baseten.deployment.id"] == "d1"
    assert not [value for value in span.attributes.values() if value in {INPUT, OUTPUT, 1}]


def test_a_failure_has_its_type_but_no_text(exported):
    call(PREDICT, error=BasetenRateLimitError(OUTPUT, status=429, request_id="r1"))
    span = one(exported)
    assert (span.status.is_ok, span.status.description, span.events) == (False, None, ())
    assert span.attributes["error.type"] == "BasetenRateLimitError"
    assert span.attributes["http.response.status_code"] == 429
    assert OUTPUT not in span.to_json()


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[1]",
        {"id": 5, "model": ["x"], "choices": [{"finish_reason": 3}], "usage": {"prompt_tokens": -1}},
        completion(
            id=f"{OUTPUT} text", model=f"{OUTPUT}\n", choices=[{"finish_reason": f"{OUTPUT} {OUTPUT}"}], usage={}
        ),
        completion(id=True, model="", choices=[{}], usage={"prompt_tokens": True, "completion_tokens": 1.5}),
        {"usage": "many"},
        {"choices": "none"},
        b" " * 2_000_000,
        b'{"model": "\xe4"}',
        DEEP,
    ],
)
def test_values_of_another_form_are_left_out(body):
    assert response_fields(answer(CHAT, body)) == {}


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b'{"model": 1}', b'{"model": "two words"}', b" " * 2_000_000, DEEP]
)
def test_a_model_of_another_form_is_left_out(body):
    assert request_fields(Request(method="POST", host="model-a", path="/", subject="x", body=body)) == {}


def test_the_headers_name_the_span(exported):
    headers = call(PREDICT, answer(PREDICT, 1))
    context = one(exported).context
    assert headers == {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


class TestWithoutSampling:
    @pytest.fixture
    def provider(self):
        return TracerProvider(sampler=ALWAYS_OFF)

    def test_there_is_no_header(self, exported):
        assert call(PREDICT, answer(PREDICT, 1)) == {}
        assert AIRFLOW_OBSERVER.headers() == {}
        assert exported.get_finished_spans() == ()


def test_without_a_trace_there_is_no_header():
    assert call(CHAT, answer(CHAT, completion())) == {}
    assert AIRFLOW_OBSERVER.headers() == {}


def test_a_call_that_runs_no_model_has_no_span(exported):
    from airflow_provider_baseten.api.async_predict import build_status

    request = build_status(Target(model_id="abc"), "r1")
    assert call(request, answer(request, {})) == {}
    assert exported.get_finished_spans() == ()


def test_a_bulk_run_that_fails(exported):
    @spans.bulk_span("predict", Target(model_id="abc"), None, URL)
    def run() -> None:
        assert AIRFLOW_OBSERVER.headers()
        raise ValueError(OUTPUT)

    with pytest.raises(ValueError, match=OUTPUT):
        run()
    span = one(exported)
    assert (span.name, span.attributes["error.type"], span.events) == ("bulk predict abc", "ValueError", ())
    assert OUTPUT not in span.to_json()


def test_a_wait_has_few_of_many_ids(exported):
    outcomes: dict[str, str] = {}
    with spans.wait_span(Target(model_id="abc"), [f"r{number}" for number in range(100)], outcomes):
        outcomes |= {f"r{number}": "ended" if number else "lost" for number in range(100)}
    attributes = one(exported).attributes
    assert len(attributes["baseten.request_ids"]) == 20
    assert [attributes[f"baseten.requests{end}"] for end in ("", ".ended", ".lost")] == [100, 99, 1]


class FaultyProcessor(SpanProcessor):
    def __init__(self, method: str) -> None:
        setattr(self, method, lambda *arguments, **named: 1 / 0)


@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_a_faulty_span_processor_fails_no_bulk_run_and_no_wait(provider, monkeypatch, method):
    provider.add_span_processor(FaultyProcessor(method))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("tests"))
    done = []
    with spans.bulk_span("predict", Target(model_id="abc"), None, URL) as span:
        span.set_counts(rows=1, failed=0, requests=1, tokens={})
        done.append("bulk run")
    with spans.wait_span(Target(model_id="abc"), ["r1"], {"r1": "delivered"}):
        done.append("wait")
    with pytest.raises(BasetenRateLimitError), spans.wait_span(Target(model_id="abc"), ["r1"], {}):
        raise BasetenRateLimitError("busy")
    assert done == ["bulk run", "wait"]
