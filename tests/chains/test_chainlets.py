"""Everything that takes a chain_id, in a real Airflow, against chainlets that Truss generated and serves."""

import json
from pathlib import Path

import pytest
import requests
from airflow.sdk import DAG, task

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

GOOD = {"item": {"word": "ha", "times": 3}}
BOOM = {"item": {"word": "boom", "times": 1}}
WRONG = {"item": {"word": "ha", "times": "often"}}
MODES = {
    "predict": (BasetenPredictOperator, {}),
    "deferred_predict": (BasetenPredictOperator, {"deferrable": True}),
    "async_predict": (BasetenAsyncPredictOperator, {"deferrable": False, "poll_interval": 0.5}),
    "deferred_async_predict": (BasetenAsyncPredictOperator, {"deferrable": True, "poll_interval": 0.5}),
}
DECORATORS = {name: getattr(task, f"baseten_{name.removeprefix('deferred_')}") for name in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_outputs(baseten, run_dag, mode):
    operator, arguments = MODES[mode]
    call = {"chain_id": "repeat"} | arguments
    with DAG(f"chain_{mode}") as dag:
        operator(task_id="one", model_input=GOOD, **call)
        operator.partial(task_id="mapped", **call).expand(
            model_input=[GOOD | {"separator": separator} for separator in ("-", "+")]
        )

        @DECORATORS[mode](**call)
        def ask(word):
            return {"item": {"word": word, "times": 2}}

        ask("ho")
        ask.override(task_id="asked").expand(word=["a", "b"])
    run = run_dag(dag)
    assert run.state == "success"
    # The tuple that `run_remote` returns is an array.
    assert run.xcom("one") == ["ha ha ha", 3]
    assert [run.xcom("mapped", map_index=index) for index in (0, 1)] == [["ha-ha-ha", 3], ["ha+ha+ha", 3]]
    assert run.xcom("ask") == ["ho ho", 2]
    assert [run.xcom("asked", map_index=index) for index in (0, 1)] == [["a a", 2], ["b b", 2]]
    posts = [request for request in baseten.requests if request.method == "POST"]
    action = "async_run_remote" if "async" in mode else "run_remote"
    assert [(r.chain_id, r.action) for r in posts] == [("repeat", action)] * 6


@pytest.mark.parametrize(("model_input", "words"), [(BOOM, "LookupError"), (WRONG, "item.times")])
@pytest.mark.parametrize("mode", MODES)
def test_errors_fail_the_task_and_say_what_was_wrong(baseten, run_dag, capfd, mode, model_input, words):
    operator, arguments = MODES[mode]
    if "async" in mode:
        arguments = arguments | {"inference_retry_config": {"max_attempts": 1}}
    with DAG(f"chain_error_{mode}_{words.replace('.', '_')}") as dag:
        operator(task_id="t", chain_id="repeat", model_input=model_input, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert words in capfd.readouterr().out


def test_bulk(baseten, run_dag, tmp_path):
    call = {"chain_id": "repeat", "keep_columns": ["item"]}
    with DAG("chain_bulk") as dag:
        BasetenBatchPredictOperator(
            task_id="rows", inputs=[GOOD, WRONG, GOOD], output_path=f"file://{tmp_path}/rows", **call
        )

        @task.baseten_batch(output_path=f"file://{tmp_path}/yielded", **call)
        def yielded():
            for times in (1, 2):
                yield {"item": {"word": "ha", "times": times}}

        yielded()
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("rows")["outcomes"] == {"success": 2, "BasetenInputError": 1}
    (part,) = run.xcom("yielded")["parts"]
    lines = [json.loads(line) for line in Path(part.removeprefix("file://")).read_text().splitlines()]
    assert [line["output"] for line in lines] == [["ha", 1], ["ha ha", 2]]


def test_stream(baseten, run_dag):
    with DAG("chain_stream") as dag:
        BasetenPredictOperator(task_id="worker", chain_id="lines", model_input={"count": 3})
        BasetenPredictOperator(task_id="triggerer", chain_id="lines", model_input={"count": 3}, deferrable=True)
    run = run_dag(dag)
    assert run.xcom("worker") == run.xcom("triggerer") == "line 0\nline 1\nline 2\n"


def test_sensor(baseten, run_dag):
    with DAG("chain_sensor") as dag:
        sent = BasetenAsyncPredictOperator(
            task_id="send", chain_id="repeat", model_input=GOOD, wait_for_completion=False
        )
        BasetenAsyncRequestSensor(
            task_id="wait", chain_id="repeat", request_ids=sent.output, poke_interval=0.5, timeout=60
        )
    run = run_dag(dag)
    assert run.xcom("wait") == {run.xcom("send"): ["ha ha ha", 3]}


class TestHook:
    TARGET = Target(chain_id="repeat")

    def test_output(self, baseten):
        assert BasetenHook().predict(self.TARGET, GOOD) == ["ha ha ha", 3]

    def test_exception_of_the_chainlet_keeps_its_type_and_message(self, baseten):
        with pytest.raises(BasetenModelError, match="LookupError") as caught:
            BasetenHook().predict(self.TARGET, BOOM)
        assert caught.value.status == 500
        assert "no such word" in str(caught.value)

    def test_exception_is_an_object_with_the_stack_of_the_chainlet(self, baseten, chainlets):
        url = f"{chainlets['Repeat']}/v1/models/model:predict"
        error = requests.post(url, json=BOOM, timeout=10).json()["error"]
        assert (error["exception_cls_name"], error["exception_message"]) == ("LookupError", "no such word")
        assert [frame["name"] for frame in error["user_stack_trace"]] == ["run_remote"]

    def test_input_of_the_wrong_type_is_bad_input(self, baseten):
        with pytest.raises(BasetenInputError, match=r"item\.times"):
            BasetenHook().predict(self.TARGET, WRONG)
        assert [request.status for request in baseten.requests] == [400]
