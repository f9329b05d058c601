"""Answers that were paid and could not be used or stored: nothing is paid twice, and the error says where they are."""

import contextlib
import itertools
import logging
import shutil
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten.compat import KNOWS_RETRY_POLICY, AirflowSkipException
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.storage import encoding, outputs, write_retries
from airflow_provider_baseten.storage.outputs import read_output
from tests.awkward_values import AWKWARD, PLAIN, same
from tests.scripted_server import ScriptedServer, answer

KEY = "abcd1234.s3cr3t"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def serve(connect, store):
    """Let a server give these answers, and the connection lead to it."""
    with contextlib.ExitStack() as stack:

        def start(*behaviours):
            server = stack.enter_context(ScriptedServer(*behaviours))
            connect(host=server.url, password=KEY, extra={"result_store": f"file://{store}"})
            return server

        yield start


@pytest.mark.parametrize("body", AWKWARD, ids=repr)
def test_an_answer_that_xcom_cannot_hold_is_paid_once_and_readable(serve, run_dag, body):
    server = serve(answer(200, body, ["X-Baseten-Request-Id: r1"]))
    with DAG("awkward") as dag:
        BasetenPredictOperator(task_id="t", model_id="abc", model_input=1, retries=2, retry_delay=0.0)
    run = run_dag(dag)
    assert run.states == {"t": "success"}
    assert len(server.requests) == 1
    expected = encoding.decode_output(body, "json")
    assert same(read_output(run.xcom("t")), expected)


def test_a_value_that_xcom_holds_is_returned(serve, run_dag):
    values = [value for value in PLAIN if value is not None]
    serve(*(answer(200, outputs.Output.of_value([value]).body) for value in values))
    with DAG("plain") as dag:
        tasks = [BasetenPredictOperator(task_id=f"t{n}", model_id="abc", model_input=1) for n in range(len(values))]
        for before, after in itertools.pairwise(tasks):
            before >> after
    run = run_dag(dag)
    assert run.state == "success"
    for number, value in enumerate(values):
        assert same(run.xcom(f"t{number}"), [value])


def test_notes_that_xcom_cannot_hold_are_left_out(serve, run_dag):
    body = (
        b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],'
        b' "usage": {"prompt_tokens": 1, "completion_tokens": 1e400, "total_tokens": 2}}'
    )
    serve(answer(200, body, ["X-Baseten-Request-Id: r1"]))
    with DAG("notes") as dag:
        BasetenChatCompletionOperator(task_id="t", model_id="abc", prompt="hi")
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("t") == "hi"
    assert run.xcom("t", "request_id") == "r1"


class Storage:
    """A result store that breaks while the model runs, and is repaired before the next attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = 10

    def model(self, model_input):
        self.break_down()
        return {"score": float("nan"), "text": "x" * self.size}

    def break_down(self):
        shutil.rmtree(self.folder)
        self.folder.write_text("in the way")

    def repair(self, context=None):
        if self.folder.is_file():
            self.folder.unlink()


@pytest.fixture
def storage(store):
    return Storage(store)


@pytest.fixture
def baseten(connect, storage, monkeypatch):
    monkeypatch.setattr(write_retries, "WORKER_SECONDS", 1.0)
    models = {"breaking": storage.model, "echo": lambda model_input: model_input}
    with Emulator(models=models, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY, extra={"result_store": f"file://{storage.folder}"})
        yield emulator


def predict(model_id="breaking", **arguments):
    retrying = {"retries": 2, "retry_delay": 0.0}
    return BasetenPredictOperator(task_id="t", model_id=model_id, model_input=1, **retrying | arguments)


@pytest.mark.skipif(not KNOWS_RETRY_POLICY, reason="a task state store is in Airflow from 3.3 on")
def test_an_answer_that_could_not_be_stored_is_kept_for_the_next_attempt(baseten, storage, run_dag, capfd):
    with DAG("kept") as dag:
        predict(on_retry_callback=storage.repair)
    run = run_dag(dag)
    assert (run.states, run.tries) == ({"t": "success"}, {("t", -1): 2})
    assert len(baseten.requests) == 1
    assert same(read_output(run.xcom("t")), {"score": float("nan"), "text": "x" * 10})
    assert run.xcom("t", "request_id") == baseten.requests[0].request_id
    logged = "".join(capfd.readouterr())
    assert f"Request {baseten.requests[0].request_id} got a response, but its output could not be stored" in logged
    assert "the next attempt stores it and sends nothing" in logged


def test_an_answer_too_large_for_the_task_state_is_named(baseten, storage, run_dag, capfd):
    storage.size = 100_000
    with DAG("too_large") as dag:
        predict(retries=0)
    run = run_dag(dag)
    assert run.states == {"t": "failed"}
    logged = "".join(capfd.readouterr())
    assert f"Request {baseten.requests[0].request_id} got a response, but its output could not be stored" in logged
    assert "the next attempt sends the request again, and pays again" in logged


@pytest.mark.parametrize("path", [None, "file://{tmp_path}/out.json"])
def test_nothing_is_sent_while_the_store_is_unusable(baseten, storage, run_dag, tmp_path, path, capfd):
    storage.folder.write_text("in the way")
    with DAG("unusable") as dag:
        predict("echo", retries=0, output_path=path and path.format(tmp_path=tmp_path))
    assert run_dag(dag).states == {"t": "failed"}
    assert baseten.requests == []
    assert "BasetenResultStoreError" in "".join(capfd.readouterr())


def test_a_task_whose_output_is_not_wanted_needs_no_store(baseten, storage, run_dag):
    storage.folder.write_text("in the way")
    with DAG("unwanted") as dag:
        predict("echo", do_xcom_push=False)
    assert run_dag(dag).states == {"t": "success"}


def raises(error):
    def function(response):
        raise error

    return function


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"response_filter": lambda response: object()}, "The return value of response_filter can't be stored"),
        ({"response_filter": lambda response: {1, 2}}, "The return value of response_filter can't be stored"),
        (
            {"response_filter": raises(KeyError("x"))},
            "response_filter raised KeyError in function (test_unstored_answers.py, line ",
        ),
        (
            {"response_check": raises(ValueError("private-3"))},
            "response_check raised ValueError in function (test_unstored_answers.py, line ",
        ),
        ({"response_check": lambda response: False}, "response_check refused the response"),
    ],
)
def test_an_answer_that_its_author_cannot_use_is_saved(serve, run_dag, store, caplog, capfd, arguments, words):
    server = serve(answer(200, b'{"paid": true}', ["X-Baseten-Request-Id: r1"]))
    retries = 0 if "refused" in words else 3
    with DAG("unusable_answers") as dag:
        BasetenSyncRouteOperator(task_id="t", model_id="m", route="r", retries=retries, retry_delay=0.0, **arguments)
    run = run_dag(dag)
    assert run.states == {"t": "failed"}
    assert len(server.requests) == 1
    assert (store / "responses" / "r1.json").read_bytes() == b'{"paid": true}'
    logged = "".join(capfd.readouterr())
    assert words in logged
    assert f"The unchanged response is saved in file://{store}/responses/r1.json." in logged


def test_broken_json_is_saved(serve, run_dag, store, capfd):
    serve(answer(200, b'{"paid": tr', ["X-Baseten-Request-Id: r1"]))
    with DAG("broken_json") as dag:
        BasetenPredictOperator(task_id="t", model_id="m", model_input=1)
    assert run_dag(dag).states == {"t": "failed"}
    assert (store / "responses" / "r1.json").read_bytes() == b'{"paid": tr'


def test_a_page_in_place_of_the_model_is_not_saved(serve, run_dag, store):
    serve(answer(200, b"<html>log in</html>", content_type="text/html"))
    with DAG("portal") as dag:
        BasetenPredictOperator(task_id="t", model_id="m", model_input=1)
    assert run_dag(dag).states == {"t": "failed"}
    assert not (store / "responses").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1, 2]", "is not an object"),
        (b'"text"', "is not an object"),
        (b'{"a/b": 1}', "has field names that can't be XCom keys"),
        (b'{"a?b": 1, "c": 2}', "has field names"),
        (b'{"": 1}', "has field names"),
    ],
)
def test_outputs_whose_fields_cannot_be_xcoms_are_saved(serve, run_dag, store, capfd, body, words):
    serve(answer(200, body, ["X-Baseten-Request-Id: r1"]))
    with DAG("fields") as dag:
        BasetenPredictOperator(task_id="t", model_id="m", model_input=1, multiple_outputs=True)
    run = run_dag(dag)
    assert run.states == {"t": "failed"}
    assert run.keys("t") == {"request_id"}
    assert (store / "responses" / "r1.json").read_bytes() == body
    assert words in "".join(capfd.readouterr())


@pytest.mark.parametrize("body", [b'{"label": "a", "other label": 1.5}', b'{"label": NaN}', b"{}"])
def test_fields_of_an_output_and_of_a_reference_are_xcoms(serve, run_dag, body):
    serve(answer(200, body, ["X-Baseten-Request-Id: r1"]))
    with DAG("good_fields") as dag:
        BasetenPredictOperator(task_id="t", model_id="m", model_input=1, multiple_outputs=True)
    run = run_dag(dag)
    assert run.state == "success"
    assert run.keys("t") == {"return_value", *run.xcom("t"), "request_id"}


def test_a_filter_may_skip_the_task(serve, run_dag):
    serve(answer(200, b"1"))
    with DAG("skip") as dag:
        BasetenSyncRouteOperator(
            task_id="t", model_id="m", route="r", response_filter=raises(AirflowSkipException("no"))
        )
    assert run_dag(dag).states == {"t": "skipped"}


def test_inputs_and_outputs_are_in_no_log(baseten, storage, run_dag, caplog):
    storage.size = 100_000
    with caplog.at_level(logging.DEBUG), DAG("quiet") as dag:
        predict(retries=0)
    run_dag(dag)
    assert "xxxx" not in caplog.text
