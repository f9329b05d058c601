"""Names and tags of metrics, and metrics that can't be sent."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_baseten import compat, exceptions
from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.client.observer import CallCounts
from airflow_provider_baseten.telemetry import metrics
from airflow_provider_baseten.telemetry.calls import CallFacts, CallKind
from airflow_provider_baseten.webhook.delivery import Refusal

FACTS = CallFacts(kind=CallKind.PREDICT, target="abc")
TAGS = {"kind": "predict", "target": "abc"}


def test_counts_of_a_call(sent):
    metrics.count_call(FACTS, None, 0)
    metrics.count_call(FACTS, exceptions.BasetenRateLimitError("busy"), 2)
    assert sent == [
        ("incr", "baseten.requests.success", 1, TAGS),
        ("incr", "baseten.requests.rate_limit", 1, TAGS),
        ("incr", "baseten.retries", 2, TAGS),
    ]


def test_a_status_call_is_no_request(sent):
    metrics.count_call(CallFacts(kind=CallKind.STATUS, target="abc"), None, 0)
    metrics.count_call(CallFacts(kind=CallKind.OTHER, target="abc"), None, 0)
    assert [name for _, name, _, _ in sent] == ["baseten.status_calls.success"]


def test_counts_of_a_bulk_run_are_few_metrics(sent):
    errors = {exceptions.BasetenModelError: 3}
    metrics.count_calls(
        FACTS, CallCounts(succeeded=1000, errors=errors, retries=7, responses=1003, response_seconds=2006.0)
    )
    assert [(name, getattr(value, "total_seconds", lambda value=value: value)()) for _, name, value, _ in sent] == [
        ("baseten.requests.success", 1000),
        ("baseten.requests.model", 3),
        ("baseten.retries", 7),
        ("baseten.request.duration", 2.0),
    ]


def test_nothing_is_sent_for_nothing(sent):
    metrics.count_calls(FACTS, CallCounts(succeeded=0, errors={}, retries=0, responses=0, response_seconds=0.0))
    metrics.count_summary(TaskSummary(), "Operator")
    assert sent == []


def test_tokens_and_rows_of_a_task(sent):
    tokens = {"prompt_tokens": 5, "completion_tokens": 6, "cached_tokens": 1, "total_tokens": 11, "odd_tokens": 9}
    metrics.count_summary(TaskSummary(target=ModelApis(), tokens=tokens, rows=3, succeeded=2, failed=1), "Operator")
    assert {name: value for _, name, value, _ in sent} == {
        "baseten.tokens.input": 5,
        "baseten.tokens.output": 6,
        "baseten.tokens.cached": 1,
        "baseten.rows.success": 2,
        "baseten.rows.failed": 1,
    }
    assert all(tags == {"operator": "Operator", "target": "model_apis"} for *_, tags in sent)


def test_a_task_that_sums_up_others_counts_nothing(sent):
    metrics.count_summary(TaskSummary(target=Target(model_id="abc"), succeeded=2, is_counted=True), "Operator")
    assert sent == []


def test_the_gauge_sums_up_all_connections_and_is_sent_when_it_changes(sent):
    gauge, first, second = metrics.WaitingGauge(), object(), object()
    for source, number in ((first, 2), (first, 2), (second, 3), (first, 0), (second, 0), (second, 0)):
        gauge.set(source, number)
    assert [value for _, name, value, _ in sent if name == "baseten.waiting"] == [2, 5, 3, 0]
    assert all(re.fullmatch(r"baseten\.waiting(\.[\w-]+)?", name) for _, name, _, _ in sent)


def test_each_refusal_of_the_receiver_has_a_name():
    """The statuses are those in the source code of the receiver and the relay."""
    from airflow_provider_baseten.webhook import app, delivery, intake, relay

    source = "".join(inspect.getsource(module) for module in (app, delivery, intake, relay))
    statuses = {int(status) for status in re.findall(rf"{Refusal.__name__}\((\d+),", source)}
    assert len(statuses) > 4
    names = [metrics.refusal(status) for status in statuses]
    assert len({*names}) == len(names)
    assert "refused" not in names


class Down:
    def __getattr__(self, name):
        raise OSError("no StatsD")


def test_a_metric_that_cannot_be_sent_is_no_error(monkeypatch):
    monkeypatch.setitem(vars(compat), "Stats", Down())
    metrics.count_call(FACTS, None, 1)
    metrics.record_duration(FACTS, 1.0)
    metrics.count_delivery("stored", "relay")
    metrics.WaitingGauge().set(object(), 1)
    metrics.count_summary(TaskSummary(succeeded=1), "Operator")


@pytest.mark.processes
def test_a_plain_client_loads_neither_airflow_nor_opentelemetry():
    code = "import sys; from airflow_provider_baseten.client.client import Client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = ("airflow.", "opentelemetry", "airflow_provider_baseten.telemetry")
    assert [name for name in done.stdout.split() if name.startswith(heavy)] == []


@pytest.mark.parametrize("name", [name for name in vars(metrics).values() if str(name).startswith("baseten.")])
def test_the_documentation_has_each_name(name):
    assert f"``{name}" in (Path(__file__).parents[2] / "docs" / "observability.rst").read_text()


def test_facts_hold_nothing_of_the_input():
    facts = CallFacts.of_request(build_predict(Target(model_id="abc"), {"text": "canary"}))
    assert "canary" not in repr(facts)
