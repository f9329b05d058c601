"""What a task's log says: a line before a call, a line after it, and nothing of input and output."""

import logging
import re

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import BasetenPredictOperator
from airflow_provider_baseten.emulator import Emulator

KEY = "abcd1234.s3cr3t"
SUBJECT = r"predict of model echo \(environment production\)"
ANSWERED = rf"{SUBJECT} answered 200 after \d+\.\d s with 21 bytes \(request id \w+\)\."


@pytest.fixture
def baseten(connect, tmp_path):
    with Emulator(models={"echo": lambda model_input: model_input}, api_key=KEY) as emulator:
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
                rf"The triggerer is to call {SUBJECT}\.",
                rf"The triggerer has left the answer of {SUBJECT}\.",
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
