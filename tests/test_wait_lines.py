"""What the log of a task tells while it waits for async requests, whichever way it waits."""

import logging
import re
import threading
import time

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenAsyncPredictOperator, BasetenAsyncRequestSensor
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.hooks.connection import BasetenConnection
from tests.receiver import receiver

KEY = "abcd1234.s3cr3t"
SECRET = "whsec_of-the-tests"


def broken(model_input):
    raise RuntimeError("the model")


@pytest.fixture
def baseten(connect, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.2")
    store = f"file://{tmp_path}/store"
    known = BasetenConnection(
        conn_id="baseten_default", api_key=KEY, management_api_key=KEY, webhook_secrets=(SECRET,), result_store=store
    )
    models = {"echo": lambda model_input: model_input, "broken": broken}
    with (
        receiver({"baseten_default": known}.get) as receiver_url,
        Emulator(models=models, api_key=KEY, webhook_secrets=[SECRET]) as emulator,
    ):
        endpoint = f"{receiver_url}/webhooks/baseten_default"
        extra = {"result_store": store, "webhook_endpoint": endpoint, "webhook_secrets": [SECRET]}
        connect(host=emulator.url, password=KEY, extra=extra)
        connect("without_webhook", host=emulator.url, password=KEY, extra={"result_store": store})
        yield emulator
        emulator.release()


@pytest.fixture
def seen_in_queue(baseten):
    """Hold what is sent in the queue until somebody has asked for its status."""
    baseten.hold()
    over = threading.Event()

    def release():
        while not over.is_set() and not any(r.action == "async_request" for r in baseten.requests):
            over.wait(0.02)
        time.sleep(0.2)  # The answer has reached the task.
        baseten.release()

    thread = threading.Thread(target=release)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def lines(capfd, caplog):
    """Return what was logged of async requests, without ids: by tasks, which print it here, and by triggers."""

    def read():
        printed = "".join(capfd.readouterr())
        messages = [
            *re.findall(r"\[info +\] (.*?) +\[airflow\.task", printed),
            *(
                record.getMessage()
                for record in caplog.records
                if record.name.startswith("airflow_provider_baseten.triggers")
            ),
        ]
        assert "private-" not in printed + caplog.text
        found = [message for message in messages if re.search(r"[Aa]sync request", message)]
        return [re.sub(r"\b[0-9a-f]{32}\b", "ID", re.sub(r"\b\d+ s\b", "N s", message)) for message in found]

    with caplog.at_level(logging.INFO, "airflow_provider_baseten"):
        yield read


@pytest.mark.usefixtures("seen_in_queue")
class TestOperator:
    @pytest.mark.parametrize("deferrable", [False, True])
    @pytest.mark.parametrize(
        ("arguments", "last", "end"),
        [
            ({}, "result received", "result received by webhook"),
            (
                {"baseten_conn_id": "without_webhook"},
                "succeeded",
                "succeeded; no webhook was named, so no output was delivered",
            ),
            (
                {"model_id": "broken", "inference_retry_config": {"max_attempts": 1}},
                "failed|result received",
                "ended without success|result received by webhook",
            ),
        ],
        ids=["webhook", "no webhook", "failure"],
    )
    def test_of_a_wait(self, run_dag, lines, deferrable, arguments, last, end):
        name = "_".join([*arguments, str(deferrable)])
        with DAG(f"lines_of_wait_{name}") as dag:
            options = {"model_id": "echo", "timeout": 60, "poll_interval": 0.3} | arguments
            BasetenAsyncPredictOperator(
                task_id="ask", model_input={"text": "private-1"}, deferrable=deferrable, **options
            )
        run_dag(dag)
        found = [line for line in lines() if "Sent async" not in line]
        ended = [line for line in found if line.startswith("Waited")]
        assert len(ended) == 1
        assert re.fullmatch(rf"Waited N s for async request ID: ({end})\.", ended[0])
        changes = [line for line in found if line.startswith("Async request ID after N s: ")]
        assert changes[0].endswith(": queued.")
        assert re.search(rf": ({last})\.$", changes[-1])
        assert len(changes) == len(set(changes)) <= 5
        assert len(found) == len(changes) + len(ended)


@pytest.mark.usefixtures("seen_in_queue")
@pytest.mark.parametrize(
    "options",
    [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}],
    ids=["poke", "reschedule", "deferrable"],
)
def test_of_a_sensor(baseten, run_dag, lines, options):
    with DAG(f"lines_of_sensor_{'_'.join(map(str, options.values()))}") as dag:
        sent = [
            BasetenAsyncPredictOperator(
                task_id=f"ask{number}", model_id="echo", model_input="private-2", wait_for_completion=False
            )
            for number in range(2)
        ]
        wait = BasetenAsyncRequestSensor(
            task_id="wait",
            model_id="echo",
            request_ids=[task.output for task in sent],
            poke_interval=0.5,
            timeout=60,
            **options,
        )
        sent >> wait
    assert run_dag(dag).state == "success"
    found = [line for line in lines() if "Sent async" not in line]
    assert [line for line in found if line.startswith("Waited")] == [
        "Waited N s for 2 async requests: 2 result received by webhook."
    ]
    assert found.count("Async request ID after N s: queued.") == 2
    assert found.count("Async request ID after N s: result received.") == 2
    assert len(found) <= 10
