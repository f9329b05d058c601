"""Advice of error messages: what does not apply to a call is not said of it."""

import pytest

from airflow_provider_baseten.api.async_predict import (
    build_async_predict,
    build_cancel,
    build_queue_status,
    build_status,
)
from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.management.deployments import list_deployments
from airflow_provider_baseten.api.management.models import get_model, list_models
from airflow_provider_baseten.api.openai import chat, embeddings
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.api.wake import build_wake

TARGET = Target(model_id="abc")
CHAIN = Target(chain_id="xyz")
MESSAGES = [{"role": "user", "content": "hi"}]
STATUSES = [300, 400, 401, 402, 403, 404, 405, 408, 413, 422, 429, 500, 502, 503, 504, 507, 529]

CALLS = {
    "predict": build_predict(TARGET, 1),
    "chain": build_predict(CHAIN, {}),
    "route": build_sync_route(TARGET, "v1/x"),
    "chat": chat.build_chat_completion(TARGET, MESSAGES),
    "embeddings": embeddings.build_embeddings(TARGET, "hi"),
    "model apis": chat.build_chat_completion(ModelApis(), MESSAGES, model="a/b"),
    "submission": build_async_predict(TARGET, 1),
    "status": build_status(TARGET, "r1"),
    "cancel": build_cancel(CHAIN, "r1"),
    "queue": build_queue_status(TARGET),
    "wake": build_wake(TARGET),
    "models": list_models().request,
    "model": get_model("abc").request,
    "deployments": list_deployments("abc").request,
}
OF_MODELS = {"predict", "chain", "route", "chat", "embeddings", "model apis"}
# Words, and the calls of which they may be said.
WORDS = {
    "route": {"route", "chat", "embeddings"},
    "async predict for long work": {"predict", "chain"},
    "the input": {"predict", "chain", "route", "chat", "embeddings", "submission"},
    "replicas": OF_MODELS - {"model apis"},
    "read its logs": OF_MODELS - {"model apis"},
    "wake it first": OF_MODELS - {"model apis"},
    "The model took": OF_MODELS - {"model apis"},
    "slug": {"model apis"},
    "management_api_key": {"models", "model", "deployments"},
    "an hour after its end": {"status", "cancel"},
    "environment or deployment": CALLS.keys() - {"model apis", "status", "cancel", "models", "model", "deployments"},
}


def error_of(call, status):
    answer = Response(request=CALLS[call], status=status, headers={}, body=b"")
    return error_for(answer)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", STATUSES)
def test_what_does_not_apply_is_not_said(call, status):
    message = str(error_of(call, status)).partition(" returned ")[2]
    assert message.count(". ") >= 1  # There is some advice.
    for words, calls in WORDS.items():
        assert words not in message or call in calls, message


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [500, 504, 507])
def test_only_what_may_have_run_is_said_to(call, status):
    assert error_of(call, status).may_have_run == (call in OF_MODELS | {"submission"})


@pytest.mark.parametrize(("call", "called"), [("status", "model abc"), ("cancel", "chain xyz")])
def test_an_unknown_async_request(call, called):
    message = str(error_of(call, 404))
    assert message == (
        f"{call} of async request r1 of {called} returned 404. Check that {called} is the one that was "
        "called. If it is, the id is unknown: Baseten forgets an async request an hour after its end."
    )
