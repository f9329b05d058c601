"""Spans of pydantic-ai for runs on Baseten: the name of the provider, tokens and cost, and no content."""

import os

import pytest

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.common_ai.conftest import SLUG


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setenv("AIRFLOW__COMMON_AI__OTEL_EXPORT_ENABLED", "True")
    return exporter


@pytest.mark.parametrize(("model", "named"), [(SLUG, SLUG), ("chat@development", "chat@development")])
def test_spans_of_a_run(baseten, spans, model, named):
    hook = PydanticAIHook.get_hook("llm", hook_params={"model_id": model})
    hook.create_agent(instructions="private-instructions").run_sync("private-prompt")
    found = spans.get_finished_spans()
    (chat,) = [span for span in found if span.attributes.get("gen_ai.operation.name") == "chat"]
    assert chat.attributes["gen_ai.provider.name"] == "baseten"
    assert (chat.attributes["gen_ai.request.model"], chat.attributes["gen_ai.response.model"]) == (model, named)
    assert chat.attributes["server.address"] == "127.0.0.1"
    assert (chat.attributes["gen_ai.usage.input_tokens"], chat.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen = " ".join(span.to_json() for span in found)
    assert "private-" not in seen
    assert "hello" not in seen
    assert "s3cr3t" not in seen
