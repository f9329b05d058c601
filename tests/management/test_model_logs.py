"""Lines that a model has logged for a failed request, at the end of the log of the task."""

import logging
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenAsyncPredictOperator, BasetenPredictOperator
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenModelError
from airflow_provider_baseten.operators import model_logs
from tests.management.conftest import INVOKE, KEY
from tests.receiver import receiver

pytestmark = pytest.mark.airflow

log = logging.getLogger("a_model")


def broken(model_input):
    log.warning("token %s", model_input)
    log.info("weights are missing")
    raise ValueError("boom")


@pytest.fixture
def baseten(connect, tmp_path):
    log.setLevel(logging.INFO)
    keys = {KEY: "WORKSPACE_MANAGE_ALL", INVOKE: "WORKSPACE_INVOKE"}
    with Emulator(models={"abc": broken}, api_keys=keys) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}/store"})
        yield emulator


@pytest.mark.parametrize("model_input", ["x" * 200_000, {1}, object()], ids=["too large", "not JSON", "unknown"])
def test_none_with_an_input_that_can_not_be_searched_for(model_input, monkeypatch):
    monkeypatch.setattr(
        model_logs, "_lines_of", lambda *arguments: [SimpleNamespace(level=None, message="s3cr3t-input")]
    )
    messages = []
    operator = SimpleNamespace(
        hidden_fields=("model_input",),
        model_input=model_input,
        called_target=Target(model_id="abc"),
        baseten_conn_id="baseten_default",
        log=SimpleNamespace(info=lambda text, *values: messages.append(text % values)),
    )
    model_logs.log_model_lines(operator, BasetenModelError("no", request_id="r"))
    assert messages == ["What the model has logged: airflow baseten logs --model-id abc --request-id r"]


def log_calls(baseten):
    return [r for r in baseten.requests if r.path.endswith("/logs")]


def test_they_end_the_log_of_a_predict(run_dag, baseten, logged):
    with DAG("model_logs") as dag:
        BasetenPredictOperator(task_id="t", model_id="abc", model_input="s3cr3t-input")
    assert run_dag(dag).state == "failed"
    text = logged()
    request_id = next(r.request_id for r in baseten.requests if r.action == "predict")
    after = text.partition(f"The model's log of request {request_id}:")[2]
    assert "| INFO weights are missing" in after
    assert "| ERROR ValueError: boom" in after
    assert "| WARNING token [input]" in after
    assert "Logging error" not in text


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
def test_of_an_async_request(run_dag, baseten, logged, connect, tmp_path, deferrable):
    from airflow_provider_baseten.hooks.connection import BasetenConnection

    store = f"file://{tmp_path}/store"
    known = BasetenConnection(
        conn_id="baseten_default",
        api_key=KEY,
        management_api_key=KEY,
        webhook_secrets=("whsec",),
        result_store=store,
    )
    with receiver({"baseten_default": known}.get) as url:
        baseten.webhook_secrets = ["whsec"]
        endpoint = f"{url}/webhooks/baseten_default"
        connect(host=baseten.url, password=KEY, extra={"result_store": store, "webhook_endpoint": endpoint})
        with DAG(f"async_model_logs_{deferrable}") as dag:
            BasetenAsyncPredictOperator(
                task_id="t", model_id="abc", model_input=1, deferrable=deferrable, poll_interval=0.5, timeout=60
            )
        assert run_dag(dag).state == "failed"
    assert "| INFO weights are missing" in logged()


@pytest.mark.parametrize(
    ("key", "extra", "calls"),
    [(INVOKE, {}, 1), (KEY, {"log_error_details": False}, 0)],
    ids=["a key for models", "not wanted"],
)
def test_not_without_the_right_or_the_wish(run_dag, baseten, logged, connect, key, extra, calls):
    connect(host=baseten.url, password=key, extra=extra)
    with DAG(f"no_model_logs_{calls}") as dag:
        BasetenPredictOperator(task_id="t", model_id="abc", model_input=1)
    assert run_dag(dag).state == "failed"
    text = logged()
    assert "The model's log" not in text
    assert text.count("BasetenModelError") >= 1
    assert len(log_calls(baseten)) == calls
