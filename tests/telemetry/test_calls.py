"""What metrics and spans call a request, and how it ended."""

import asyncio
import inspect

import pytest

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.api.async_predict import (
    build_async_predict,
    build_cancel,
    build_queue_status,
    build_status,
)
from airflow_provider_baseten.api.management.models import list_models
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.api.wake import build_wake
from airflow_provider_baseten.telemetry.calls import CallFacts, CallKind, outcome_of, target_name

MODEL = Target(model_id="abc")
CHAIN = Target(chain_id="abc", environment="staging")
REGIONAL = Target(model_id="abc", environment="eu-1", regional=True)
DEPLOYMENT = Target(model_id="abc", deployment_id="d1")
DEVELOPMENT = Target(model_id="abc", environment="development")


@pytest.mark.parametrize("target", [MODEL, CHAIN, REGIONAL, DEPLOYMENT, DEVELOPMENT], ids=str)
class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "build"),
        [
            (CallKind.PREDICT, lambda target: build_predict(target, {})),
            (CallKind.ASYNC_PREDICT, lambda target: build_async_predict(target, {})),
            (CallKind.CHAT, lambda target: build_sync_route(target, "v1/chat/completions", method="POST")),
            (CallKind.TEXT_COMPLETION, lambda target: build_sync_route(target, "/v1/completions", method="POST")),
            (CallKind.EMBEDDINGS, lambda target: build_sync_route(target, "v1/embeddings", params={"a": "/x"})),
            (CallKind.SYNC_ROUTE, lambda target: build_sync_route(target, "users/predict")),
            (CallKind.SYNC_ROUTE, lambda target: build_sync_route(target, "async_request/1")),
            (CallKind.STATUS, lambda target: build_status(target, "r1")),
            (CallKind.OTHER, lambda target: build_cancel(target, "r1")),
            (CallKind.OTHER, build_queue_status),
            (CallKind.OTHER, build_wake),
        ],
    )
    def test_kind_and_target(self, kind, build, target):
        facts = CallFacts.of_request(build(target))
        assert facts.tags == {"kind": str(kind), "target": "abc"}
        assert facts.target == target_name(target)

    def test_what_is_called_of_the_target(self, target):
        facts = CallFacts.of_request(build_predict(target, {}))
        assert (facts.environment, facts.deployment_id) == (target.environment, target.deployment_id)


def test_model_apis():
    facts = CallFacts.of_request(build_sync_route(ModelApis(), "v1/chat/completions", method="POST"))
    assert facts.tags == {"kind": "chat", "target": "model_apis"}


def test_the_management_api():
    assert CallFacts.of_request(list_models().request).tags == {"kind": "other", "target": ""}


def test_calls_that_run_a_model():
    assert {kind for kind in CallKind if not kind.runs_a_model} == {CallKind.STATUS, CallKind.OTHER}


def test_each_error_has_a_kind_of_its_own():
    errors = [cls for _, cls in inspect.getmembers(exceptions, inspect.isclass) if issubclass(cls, Exception)]
    assert {outcome_of(cls) for cls in errors} == {
        *(
            "async_request",
            "auth",
            "batch",
            "deployment",
            "error",
            "input",
            "model",
            "not_found",
            "orphaned_request",
            "output",
        ),
        *("payload_too_large", "rate_limit", "response", "result_lost", "result_store", "timeout", "training"),
        "unavailable",
    }


def test_success_and_what_is_no_error_of_this_package():
    class OwnError(exceptions.BasetenTimeoutError):
        pass

    assert outcome_of(None) == "success"
    assert outcome_of(OwnError("late")) == "timeout"
    assert {outcome_of(error) for error in (asyncio.CancelledError(), ValueError("canary"))} == {"interrupted"}
