"""What a task's log says: a line before a call, a line after it, and nothing of input and output."""

import logging
import re

import pytest
from airflow.sdk import DAG
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenAsyncRequestSensor,
    BasetenPredictOperator,
    BasetenSyncRouteOperator,
)
from airflow_provider_baseten.emulator import Emulator
from tests.log_records import errors_of_tasks

KEY = "abcd1234.s3cr3t"
SUBJECT = r"predict of model echo \(environment production\)"
ANSWERED = rf"{SUBJECT} returned 200 after \d+\.\d s with 21 bytes \(request id \w+\)\."


def broken(model_input):
    raise RuntimeError("the model's own code")


@pytest.fixture
def baseten(connect, tmp_path):
    server = Starlette(routes=[Route("/health", lambda request: PlainTextResponse("well"))])
    models = {"echo": lambda model_input: model_input, "broken": broken, "server": server}
    with Emulator(models=models, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{tmp_path}"})
        yield emulator


@pytest.fixture
def logged(capfd, caplog):
    """Return messages of tasks, which print them here, then those of triggers, that speak of something."""

    def read(of):
        printed = "".join(capfd.readouterr())
        messages = [*re.findall(r"\[info +\] (.*?) +\[", printed), *caplog.messages]
        assert "private-" not in printed + caplog.text
        return [message for message in messages if of in message]

    with caplog.at_level(logging.INFO):
        yield read


@pytest.mark.parametrize(
    ("deferrable", "expected"),
    [
        (False, [rf"Calling {SUBJECT}\.", ANSWERED]),
        (
            True,
            [
                rf"Deferred: the triggerer will call {SUBJECT}\.",
                rf"Resumed: the triggerer has received the response of {SUBJECT}\.",
                rf"Calling {SUBJECT}\.",
                ANSWERED,
            ],
        ),
    ],
)
def test_lines_of_a_predict(baseten, run_dag, logged, deferrable, expected):
    with DAG(f"log_of_predict_{deferrable}") as dag:
        BasetenPredictOperator(task_id="ask", model_id="echo", model_input={"text": "private-1"}, deferrable=deferrable)
    assert run_dag(dag).state == "success"
    found = logged("predict of")
    assert len(found) == len(expected)
    assert all(map(re.fullmatch, expected, found)), found


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failure_is_one_line_and_few_frames(baseten, run_dag, capfd, deferrable):
    with DAG(f"log_of_failure_{deferrable}") as dag:
        BasetenPredictOperator(
            task_id="ask", model_id="broken", model_input={"text": "private-1"}, deferrable=deferrable
        )
    assert run_dag(dag).state == "failed"
    printed = "".join(capfd.readouterr())
    errors = errors_of_tasks(printed)
    assert len(errors) == 1
    assert "predict of model broken (environment production) returned 500" in errors[0]
    traceback = printed.partition("Task failed with exception")[2]
    frames = re.findall(r'File "(.*?)"', traceback)
    assert len([file for file in frames if "/airflow_provider_baseten/" in file]) <= 2
    assert len(frames) <= 8
    assert "private-1" not in printed


@pytest.mark.parametrize("options", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
def test_a_sensor_that_is_too_late_is_one_line(baseten, run_dag, capfd, options):
    baseten.hold()
    with DAG(f"log_of_late_sensor_{'_'.join(options)}") as dag:
        send = BasetenAsyncPredictOperator(
            task_id="send", model_id="echo", model_input={"text": "private-1"}, wait_for_completion=False
        )
        BasetenAsyncRequestSensor(
            task_id="wait", model_id="echo", request_ids=send.output, timeout=2, poke_interval=0.5, **options
        )
    assert run_dag(dag).states["wait"] == "failed"
    baseten.release()
    (error,) = errors_of_tasks("".join(capfd.readouterr()))
    assert "AirflowSensorTimeout" in error
    assert "private-1" not in error


def test_a_failure_of_the_authors_function_shows_where_it_was(baseten, run_dag, capfd):
    def refuse(response):
        return {}["score"]

    with DAG("log_of_filter") as dag:
        BasetenSyncRouteOperator(task_id="ask", model_id="server", route="health", response_filter=refuse)
    assert run_dag(dag).state == "failed"
    assert "in refuse" in "".join(capfd.readouterr())
