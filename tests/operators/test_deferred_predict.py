"""BasetenPredictOperator(deferrable=True): the triggerer sends, nothing is paid twice, nothing leaks."""

import asyncio
import logging
import threading

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.deferred_calls import DeferredCall, name_of
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenModelError, BasetenResultStoreError
from airflow_provider_baseten.identity import Identity
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.results import ResultStore, read_output
from airflow_provider_baseten.triggers.predict import BasetenPredictTrigger

KEY = "abcd1234.s3cr3t"
IDENTITY = Identity("task instance", "run")


def broken(model_input):
    raise ValueError("private-boom")


@pytest.fixture
def store(tmp_path):
    return ResultStore(f"file://{tmp_path}/store")


@pytest.fixture
def baseten(connect, store):
    def slow(model_input):
        started.set()
        go_on.wait(10)

    started, go_on = threading.Event(), threading.Event()
    models = {
        "echo": lambda model_input: model_input,
        "broken": broken,
        "large": lambda model_input: "x" * 300_000,
        "slow": slow,
    }
    with Emulator(models=models, api_key=KEY) as emulator:
        emulator.started = started
        connect(host=emulator.url, password=KEY, extra={"result_store": store.uri})
        yield emulator
        go_on.set()


def left(baseten, store, model_id="echo", **options):
    """Leave a call as a worker does; return it and its trigger."""
    request = requests.predict(Target(model_id=model_id, base_url=baseten.url), {"text": "private"}, **options)
    name = name_of(IDENTITY, 1, "fingerprint")
    call = DeferredCall(store, name)
    call.leave_request(request)
    trigger = {"baseten_conn_id": "baseten_default", "store": store.uri, "name": name, "timeout": 30}
    return call, lambda policy="resubmit": BasetenPredictTrigger(on_orphaned_request=policy, **trigger)


def run(trigger):
    async def events():
        return [event.payload async for event in trigger.run()]

    return asyncio.run(events())


def test_outputs_and_errors_are_those_of_the_blocking_mode(baseten, run_dag, tmp_path):
    cases = {
        "value": {"model_id": "echo", "model_input": {"a": [1, None]}},
        "large": {"model_id": "large", "model_input": 1},
        "landed": {"model_id": "echo", "model_input": 1, "output_path": f"file://{tmp_path}/out/"},
        "broken": {"model_id": "broken", "model_input": 1},
        "unknown": {"model_id": "nope", "model_input": 1},
    }
    with DAG("modes") as dag:
        for name, arguments in cases.items():
            for mode in (False, True):
                BasetenPredictOperator(task_id=f"{name}_{mode}", deferrable=mode, **arguments)
    finished = run_dag(dag)
    for name in cases:
        blocking, deferred = (finished.xcoms.get((f"{name}_{mode}", -1, "return_value")) for mode in (False, True))
        assert finished.states[f"{name}_False"] == finished.states[f"{name}_True"]
        assert read_output(blocking) == read_output(deferred)
    assert {task for task, state in finished.states.items() if state == "failed"} == {
        "broken_False",
        "broken_True",
        "unknown_False",
        "unknown_True",
    }
    assert len(baseten.requests) == 2 * len(cases)
    sent = {request.request_id for request in baseten.requests}
    assert finished.xcom("value_True", "request_id") in sent


def test_numpy_travels_through_the_store(baseten, run_dag):
    import numpy as np

    with DAG("deferred_numpy") as dag:
        arguments = {"model_input": {"x": np.arange(3)}, "content_type": "application/octet-stream"}
        BasetenPredictOperator(task_id="t", model_id="echo", deferrable=True, **arguments)
    assert run_dag(dag).xcom("t") == {"x": [0, 1, 2]}


def test_trigger_holds_and_tells_no_input(baseten, store, caplog):
    call, trigger = left(baseten, store, headers={"X-Token": "private"})
    with caplog.at_level(logging.DEBUG):
        events = run(trigger())
    assert events == [{"name": name_of(IDENTITY, 1, "fingerprint")}]
    assert "private" not in str(trigger().serialize()) + str(events) + caplog.text
    assert KEY not in str(trigger().serialize()) + caplog.text
    assert call.response().output() == {"text": "private"}


def test_serialized_trigger_is_the_same_trigger(baseten, store):
    _, trigger = left(baseten, store)
    path, arguments = trigger().serialize()
    assert path == "airflow_provider_baseten.triggers.predict.BasetenPredictTrigger"
    assert BasetenPredictTrigger(**arguments).serialize() == (path, arguments)


def test_answer_that_is_there_is_not_paid_again(baseten, store):
    _, trigger = left(baseten, store)
    assert run(trigger()) == run(trigger())
    assert len(baseten.requests) == 1


class TestDeadTriggerer:
    def test_unfinished_attempt_is_sent_again_with_a_warning(self, baseten, store, caplog):
        call, trigger = left(baseten, store)
        assert call.begin() is False
        run(trigger())
        assert "sending it again" in caplog.text
        assert (len(baseten.requests), call.response().status) == (1, 200)

    def test_unfinished_attempt_fails_where_that_is_wanted(self, baseten, store):
        call, trigger = left(baseten, store)
        call.begin()
        run(trigger("fail"))
        assert "clear the task to send it again" in str(call.take_error())
        assert baseten.requests == []

    def test_cancelled_trigger_leaves_its_note(self, baseten, store):
        call, trigger = left(baseten, store, "slow")

        async def cancel_midway():
            task = asyncio.create_task(anext(trigger().run()))
            await asyncio.to_thread(baseten.started.wait, 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancel_midway())
        assert call.begin() is True
        assert call.response() is None


def test_error_is_taken_once_and_the_next_attempt_sends_again(baseten, store):
    call, trigger = left(baseten, store, "broken")
    run(trigger())
    error = call.take_error()
    assert isinstance(error, BasetenModelError)
    assert (error.status, error.may_have_run, bool(error.request_id)) == (500, True, True)
    assert call.take_error() is None
    run(trigger())
    assert len(baseten.requests) == 2


def test_store_that_is_away_for_a_while_loses_no_answer(baseten, store, monkeypatch):
    call, trigger = left(baseten, store)
    failures = iter([True, True, False])
    write = ResultStore.write

    def sometimes(self, name, body):
        if name.endswith("/response") and next(failures):
            raise BasetenResultStoreError("away")
        write(self, name, body)

    monkeypatch.setattr(ResultStore, "write", sometimes)
    run(trigger())
    assert (len(baseten.requests), call.response().status) == (1, 200)


def test_missing_input_says_that_the_store_is_not_shared(baseten, store, tmp_path):
    _, trigger = left(baseten, store)
    other = ResultStore(f"file://{tmp_path}/other")
    lost = BasetenPredictTrigger(**trigger().serialize()[1] | {"store": other.uri})
    run(lost)
    assert "do not share a result store" in str(DeferredCall(other, lost.name).take_error())


@pytest.mark.parametrize(
    "change", [{"max_tries": 2}, {"fingerprint": "other"}, {"identity": Identity("task instance", "other run")}]
)
def test_clear_and_changed_input_are_other_calls(change):
    arguments = {"identity": IDENTITY, "max_tries": 1, "fingerprint": "f"}
    assert name_of(**arguments) != name_of(**arguments | change)


def test_log_stream_needs_a_worker():
    with pytest.raises(BasetenInputError, match="log_stream"):
        BasetenPredictOperator(task_id="t", model_id="a", model_input=1, deferrable=True, log_stream=True)


def test_event_of_a_former_trigger_is_not_taken_for_the_answer(baseten):
    task = BasetenPredictOperator(task_id="t", model_id="echo", model_input=1, deferrable=True)
    with pytest.raises(TaskDeferred) as again:
        task.execute_complete({}, {"name": "former"}, name="mine")
    assert again.value.trigger.name == "mine"
    assert again.value.kwargs == {"name": "mine"}
    assert not baseten.requests
