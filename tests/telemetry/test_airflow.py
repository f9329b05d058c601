"""Metrics and spans of a real run, compared with what the emulator has received."""

from collections import Counter

import pytest

from tests.telemetry.collector import Span
from tests.telemetry.conftest import API_KEY, WEBHOOK_SECRET, Observed
from tests.telemetry.dags.observed import OWN_TRACE

pytestmark = [pytest.mark.airflow, pytest.mark.processes, pytest.mark.timeout(600)]

# Calls of these models, and what their spans are children of.
PARENTS = {
    "predict echo": {"worker.predict", "worker.by_hook", "trigger.deferred"},
    "predict busy": {"worker.refused_once"},
    "predict broken": {"worker.broken"},
    "predict own": {"worker.own_trace"},
    "async_predict queue": {"worker.queued", "worker.queued_on_worker"},
    "wait queue": {"trigger.queued", "worker.queued_on_worker"},
    "chat llama": {"worker.chat"},
    "sync_route server": {"worker.route"},
    "bulk predict rows": {"worker.bulk"},
    "bulk chat llama": {"worker.bulk_chat"},
}


def test_the_run_is_the_one_that_is_meant(observed: Observed) -> None:
    assert {task: state for task, state in observed.states.items() if state != "success"} == {"broken": "failed"}


def test_requests_and_retries_are_those_that_the_emulator_received(observed: Observed) -> None:
    counters = observed.statsd.counters()
    statuses = Counter(request.status for request in observed.calls)
    assert counters["baseten.requests.success"] == statuses[200] + statuses[201]
    assert counters["baseten.requests.model"] == statuses[500] == 5
    assert counters["baseten.retries"] == statuses[429] == 2
    assert sum(statuses.values()) == sum(
        counters[name] for name in ("baseten.requests.success", "baseten.requests.model", "baseten.retries")
    )


def test_no_other_requests_are_counted(observed: Observed) -> None:
    names = {name for name in observed.statsd.counters() if name.startswith("baseten.requests.")}
    assert names == {"baseten.requests.success", "baseten.requests.model"}


def test_status_calls_are_counted_apart(observed: Observed) -> None:
    polls = [request for request in observed.baseten.requests if request.action == "async_request"]
    assert polls
    counted = {name: number for name, number in observed.statsd.counters().items() if "status_calls" in name}
    # A result may arrive while its status is asked for. The call is interrupted then.
    assert counted.keys() <= {"baseten.status_calls.success", "baseten.status_calls.interrupted"}
    assert counted["baseten.status_calls.success"] <= len(polls) <= sum(counted.values())


def test_a_duration_is_sent_for_each_call_and_few_for_a_bulk_run(observed: Observed) -> None:
    single = [request for request in observed.calls if request.model_id not in {"rows", "chats"}]
    answered = sum(request.status != 429 for request in single)
    assert observed.statsd.timings()["baseten.request.duration"] == answered + 2


def test_deliveries_are_those_of_the_emulator(observed: Observed) -> None:
    counters = observed.statsd.counters()
    assert len(observed.baseten.async_requests) == 2
    assert {name: count for name, count in counters.items() if "deliveries" in name} == {"baseten.deliveries.stored": 2}


def test_tokens_are_those_of_the_server(observed: Observed) -> None:
    counters = observed.statsd.counters()
    answers = sum(request.route == "/v1/chat/completions" for request in observed.calls)
    assert answers == 31
    assert (counters["baseten.tokens.input"], counters["baseten.tokens.output"]) == (3 * answers, 4 * answers)


def test_rows_are_those_of_the_bulk_jobs(observed: Observed) -> None:
    counters = observed.statsd.counters()
    assert (counters["baseten.rows.success"], counters["baseten.rows.failed"]) == (66, 4)


def test_the_gauge_follows_the_requests_that_the_triggerer_waits_for(observed: Observed) -> None:
    gauges = {name: values for name, values in observed.statsd.gauges().items() if name.startswith("baseten.waiting")}
    assert len(gauges) == 2
    for values in gauges.values():
        assert max(values) == 1
        assert values[-1] == 0


def test_spans_are_in_the_trace_of_the_task_or_its_trigger(observed: Observed) -> None:
    spans = {span.span_id: span for span in observed.collector.spans()}
    (trace_id,) = {span.trace_id for span in spans.values() if span.name == "dag_run.observed"}
    ours = [span for span in spans.values() if span.attributes.get("gen_ai.provider.name")]
    assert {span.trace_id for span in ours} == {trace_id}
    parents: dict[str, set[str]] = {}
    for span in ours:
        parents.setdefault(span.name, set()).add(spans[span.parent_id].name)
    assert parents == PARENTS


def test_a_call_has_one_span_and_a_bulk_run_too(observed: Observed) -> None:
    names = Counter(span.name for span in observed.collector.spans() if span.attributes.get("gen_ai.provider.name"))
    assert names == Counter({name: len(parents) for name, parents in PARENTS.items()})


def test_the_model_gets_the_span_as_parent_in_every_attempt(observed: Observed) -> None:
    spans = {(span.trace_id, span.span_id): span for span in observed.collector.spans()}

    def sender(header: str) -> Span:
        version, trace_id, span_id, flags = header.split("-")
        assert (version, flags) == ("00", "01")
        return spans[trace_id, span_id]

    for request in observed.calls:
        if request.model_id != "own":
            span = sender(request.headers["traceparent"])
            assert span.attributes["baseten.target"] == request.model_id
            assert span.name.startswith("bulk ") == (request.model_id in {"rows", "chats"})
    assert len({request.headers["traceparent"] for request in observed.calls if request.model_id == "busy"}) == 1


def test_a_header_of_the_user_wins(observed: Observed) -> None:
    (request,) = [request for request in observed.calls if request.model_id == "own"]
    assert request.headers["traceparent"] == OWN_TRACE


def test_status_calls_are_not_in_the_trace(observed: Observed) -> None:
    polls = [request for request in observed.baseten.requests if request.action == "async_request"]
    assert [request for request in polls if "traceparent" in request.headers] == []


def test_attributes_of_a_chat_completion(observed: Observed) -> None:
    (span,) = observed.spans("chat llama")
    port = int(observed.baseten.url.rpartition(":")[2])
    (request,) = [request for request in observed.calls if request.model_id == "chat"]
    assert span.kind == "CLIENT"
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "baseten",
        "gen_ai.request.model": "llama",
        "gen_ai.response.id": "1",
        "gen_ai.response.model": "llama",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "baseten.target": "chat",
        "baseten.environment": "production",
        "baseten.request_id": request.request_id,
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 200,
    }


def test_attributes_of_failures_and_retries(observed: Observed) -> None:
    (broken,), (busy,) = observed.spans("predict broken"), observed.spans("predict busy")
    assert broken.is_error
    assert (broken.attributes["error.type"], broken.attributes["http.response.status_code"]) == (
        "BasetenModelError",
        500,
    )
    assert not busy.is_error
    assert (busy.attributes["http.request.resend_count"], busy.attributes["http.response.status_code"]) == (2, 200)
    errors = [span for span in observed.collector.spans() if span.attributes.get("gen_ai.provider.name")]
    assert [span for span in errors if span.message or span.events] == []


def test_attributes_of_bulk_runs(observed: Observed) -> None:
    (rows,), (chats,) = observed.spans("bulk predict rows"), observed.spans("bulk chat llama")
    counts = ("baseten.rows", "baseten.rows.failed", "baseten.requests", "gen_ai.usage.input_tokens")
    assert [rows.attributes.get(name) for name in counts] == [40, 4, 40, None]
    assert [chats.attributes.get(name) for name in counts] == [30, 0, 30, 90]


def test_attributes_of_waits(observed: Observed) -> None:
    spans = observed.spans("wait queue")
    assert {request_id for span in spans for request_id in span.attributes["baseten.request_ids"]} == {
        *observed.baseten.async_requests
    }
    assert {span.attributes["baseten.requests.ended"] for span in spans} == {1}


def test_spans_have_no_secret_and_no_query(observed: Observed) -> None:
    exported = b"".join(observed.collector.bodies)
    assert b"sync_route" in exported
    for text in (API_KEY, WEBHOOK_SECRET, "secret=", "things/5", "well"):
        assert text.encode() not in exported
