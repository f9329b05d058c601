"""The emulator's webhooks, signed by its own code, through a socket into the receiver."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from airflow_provider_baseten.emulator import AsyncRequest, Emulator, Fault
from airflow_provider_baseten.emulator.limits import Limits
from airflow_provider_baseten.exceptions import BasetenAsyncRequestError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.connections import Connections
from tests.webhook.deliveries import connection
from tools.airflow_api import wait_until
from tools.airflow_stack import free_port

NEW, OLD = "whsec_new", "whsec_old"


def shout(model_input: Any) -> Any:
    return model_input["text"].upper()


@pytest.fixture
def baseten() -> Iterator[Emulator]:
    limits = Limits(webhook_retry_seconds=0.05)
    with Emulator({"m": shout}, {"c": shout}, webhook_secrets=(NEW, OLD), limits=limits) as emulator:
        yield emulator


@contextmanager
def receiving(lookup: Callable[[str], Any]) -> Iterator[str]:
    """Serve the receiver; its webhook endpoint."""
    port = free_port()
    config = uvicorn.Config(
        create_app(Connections(lookup, seconds=0)), host="127.0.0.1", port=port, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, 20, "the receiver to listen", every=0.01)
        yield f"http://127.0.0.1:{port}/webhooks/prod"
    finally:
        server.should_exit = True
        thread.join()


def run(emulator: Emulator, endpoint: str, text: Any = "hello", name: str = "model-m/production/async_predict"):
    """Submit an async request and wait until its webhook was delivered or given up."""
    options = {"webhook_endpoint": endpoint, "inference_retry_config": {"max_attempts": 1}}
    body = {"model_input": {"text": text}} | options
    answer = httpx.post(f"{emulator.url}/{name}", json=body, trust_env=False)
    request: AsyncRequest = emulator.async_requests[answer.json()["request_id"]]
    wait_until(lambda: request.settled_at is not None, 20, "the request to be settled", every=0.01)
    return request


def statuses(request: AsyncRequest) -> list[int | None]:
    return [attempt.status for attempt in request.webhook_attempts]


@pytest.fixture
def store(tmp_path) -> ResultStore:
    return ResultStore(f"file://{tmp_path}/results")


@pytest.mark.parametrize("known", [(NEW,), (OLD,), (OLD, NEW)])
@pytest.mark.parametrize("name", ["model-m/production/async_predict", "chain-c/production/async_run_remote"])
def test_output_arrives_while_secrets_are_rotated(baseten, store, known, name):
    with receiving({"prod": connection(store.uri, webhook_secrets=known)}.get) as endpoint:
        request = run(baseten, endpoint, name=name)
    assert (request.status, statuses(request)) == ("SUCCEEDED", [200])
    assert Deliveries(store).load(request.request_id).output() == "HELLO"


def test_failure_arrives(baseten, store):
    with receiving({"prod": connection(store.uri, webhook_secrets=(NEW,))}.get) as endpoint:
        request = run(baseten, endpoint, text=None)
    assert (request.status, statuses(request)) == ("FAILED", [200])
    with pytest.raises(BasetenAsyncRequestError, match="MODEL_PREDICT_ERROR"):
        Deliveries(store).load(request.request_id).output()


@pytest.mark.parametrize("secrets", [("whsec_other",), ()])
def test_other_or_no_secrets_deliver_nothing(baseten, store, secrets):
    baseten.webhook_secrets = secrets
    with receiving({"prod": connection(store.uri, webhook_secrets=(NEW,))}.get) as endpoint:
        request = run(baseten, endpoint)
    assert (request.status, statuses(request)) == ("WEBHOOK_FAILED", [401])
    assert Deliveries(store).load(request.request_id) is None


def test_a_store_that_is_back_in_time_loses_nothing(baseten, store, tmp_path):
    in_the_way = tmp_path / "results"
    in_the_way.write_text("")
    lookups = []

    def lookup(conn_id):
        lookups.append(conn_id)
        if len(lookups) == 2:
            in_the_way.unlink()
        return connection(store.uri, webhook_secrets=(NEW,))

    with receiving(lookup) as endpoint:
        request = run(baseten, endpoint)
    assert (request.status, statuses(request)) == ("SUCCEEDED", [503, 200])
    assert Deliveries(store).load(request.request_id).output() == "HELLO"


def test_delivered_twice_is_stored_once(baseten, store, tmp_path):
    baseten.inject(Fault(action="webhook", after_model=True, status=503))
    lookups = []

    def lookup(conn_id):
        lookups.append(conn_id)
        return connection(store.uri, webhook_secrets=(NEW,))

    with receiving(lookup) as endpoint:
        request = run(baseten, endpoint)
    assert (request.status, len(lookups)) == ("SUCCEEDED", 2)
    assert [path.name for path in tmp_path.rglob("*.json")] == [f"{request.request_id}.json"]
