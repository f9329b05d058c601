"""Which results a sensor waits for to be delivered: what the author, Baseten and the connection say of webhooks."""

import json
import math

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenAsyncPredictOperator, BasetenAsyncRequestSensor
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.state import Observation, Outcome, Wait

KEY = "abcd1234.s3cr3t"
NOWHERE = "http://127.0.0.1:9/webhooks"


@pytest.mark.parametrize(
    ("expects_delivery", "is_assumed", "webhook_status", "outcome"),
    [
        # What the author says counts alone.
        (True, False, "NO_WEBHOOK_PROVIDED", None),
        (True, False, "PENDING", None),
        (True, False, None, None),
        (False, False, "PENDING", Outcome.ENDED),
        (False, False, "NO_WEBHOOK_PROVIDED", Outcome.ENDED),
        # Otherwise what Baseten says of the request, and then the connection.
        (True, True, "NO_WEBHOOK_PROVIDED", Outcome.ENDED),
        (True, True, "SUCCEEDED", None),
        (True, True, None, None),
        (False, True, "NO_WEBHOOK_PROVIDED", Outcome.ENDED),
        (False, True, "PENDING", None),
        (False, True, "SUCCEEDED", None),
        (False, True, "FAILED", None),
        (False, True, None, Outcome.ENDED),
    ],
)
def test_what_a_success_means(expects_delivery, is_assumed, webhook_status, outcome):
    wait = Wait(expects_delivery=expects_delivery, is_assumed=is_assumed, deadline=math.inf)
    seen = Observation(status="SUCCEEDED", webhook_status=webhook_status)
    assert wait.after(seen, now=0).outcome is outcome


@pytest.fixture
def baseten(tmp_path):
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
        emulator.store = ResultStore(f"file://{tmp_path}/store")
        yield emulator


def send_and_wait(dag_id, *, sent=None, **options):
    with DAG(dag_id) as dag:
        send = BasetenAsyncPredictOperator(
            task_id="send", model_id="echo", model_input={"a": 1}, wait_for_completion=False, **(sent or {})
        )
        BasetenAsyncRequestSensor(
            task_id="wait", model_id="echo", request_ids=send.output, poke_interval=0.1, timeout=30, **options
        )
    return dag


@pytest.mark.parametrize("options", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferred"])
@pytest.mark.parametrize("endpoint", [None, NOWHERE], ids=["no webhook", "webhook"])
def test_a_request_without_a_webhook(baseten, connect, run_dag, options, endpoint):
    extra = {"result_store": baseten.store.uri} | ({"webhook_endpoint": endpoint} if endpoint else {})
    connect(host=baseten.url, password=KEY, extra=extra)
    # A model that stores its own output is sent no webhook, whatever the connection says.
    sent = {"result_path": "file:///model/{request_id}.json"} if endpoint else {}
    run = run_dag(send_and_wait(f"no_webhook_{options.get('mode')}_{bool(endpoint)}", sent=sent, **options))
    assert run.state == "success"
    request_id = run.xcom("send")
    assert run.xcom("wait") == {request_id: {"request_id": request_id, "status": "SUCCEEDED"}}


@pytest.mark.parametrize("options", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferred"])
def test_a_webhook_that_only_the_request_names(baseten, connect, run_dag, options):
    connect(host=baseten.url, password=KEY, extra={"result_store": baseten.store.uri})
    store = baseten.store

    class Stored(BasetenAsyncPredictOperator):
        """Does what a receiver would do."""

        def execute(self, context):
            request_id = super().execute(context)
            store.write(f"{request_id}.json", json.dumps({"request_id": request_id, "data": 5}).encode())
            return request_id

    with DAG(f"own_webhook_{options.get('mode')}") as dag:
        send = Stored(
            task_id="send", model_id="echo", model_input=1, wait_for_completion=False, webhook_endpoint=NOWHERE
        )
        BasetenAsyncRequestSensor(
            task_id="wait", model_id="echo", request_ids=send.output, poke_interval=0.1, timeout=30, **options
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("wait") == {run.xcom("send"): 5}
