"""BasetenPredictOperator(deferrable=True): the triggerer sends, nothing is paid twice, nothing leaks."""

import asyncio
import concurrent.futures
import contextlib
import datetime
import itertools
import json
import logging
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, ObjectStoragePath

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.compat import TaskDeferred
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenInputError,
    BasetenModelError,
    BasetenResponseError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.idempotency.deferred_call import Claim, DeferredCall
from airflow_provider_baseten.idempotency.identity import Identity
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.policies import BasetenRetryPolicy, Decision
from airflow_provider_baseten.storage import write_retries
from airflow_provider_baseten.storage.outputs import read_output
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.triggers.predict import BasetenPredictTrigger
from tests.scripted_server import ScriptedServer, answer
from tests.triggers.support import until

KEY = "abcd1234.s3cr3t"
IDENTITY = Identity("task instance", "run", 1)


class RetryAnyway(BasetenRetryPolicy):
    """Retries also what is refused."""

    def decide(self, error):
        return Decision("default")


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
        "huge": lambda model_input: ["x" * 6_000_000],
        "slow": slow,
    }
    with Emulator(models=models, api_key=KEY) as emulator:
        emulator.started, emulator.go_on = started, go_on
        connect(host=emulator.url, password=KEY, extra={"result_store": store.uri})
        yield emulator
        go_on.set()


def left(baseten, store, model_id="echo", **options):
    """Leave a call as a worker does; return it and its trigger."""
    request = build_predict(Target(model_id=model_id), {"text": "private"}, **options)
    name = IDENTITY.request_key("fingerprint")
    call = DeferredCall(store, name)
    call.name = name
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
        "huge": {"model_id": "huge", "model_input": 1},
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
    predicts = [request for request in baseten.requests if request.action == "predict"]
    assert len(predicts) == 2 * len(cases)
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
    assert events == [{"name": IDENTITY.request_key("fingerprint")}]
    assert "private" not in str(trigger().serialize()) + str(events) + caplog.text
    assert KEY not in str(trigger().serialize()) + caplog.text
    assert call.response().output() == {"text": "private"}


def test_a_connection_that_only_the_worker_knows_is_said_to_be_missing_in_the_triggerer(baseten, store, monkeypatch):
    call, trigger = left(baseten, store)
    monkeypatch.delenv("AIRFLOW_CONN_BASETEN_DEFAULT")
    monkeypatch.delenv("BASETEN_API_KEY", raising=False)
    run(trigger())
    error = call.take_error()
    assert isinstance(error, BasetenAuthError)
    assert "does not exist" in str(error)
    assert "make it available to the triggerer too" in str(error)
    assert not baseten.requests


def test_serialized_trigger_is_the_same_trigger(baseten, store):
    _, trigger = left(baseten, store)
    path, arguments = trigger().serialize()
    assert path == "airflow_provider_baseten.triggers.predict.BasetenPredictTrigger"
    assert BasetenPredictTrigger(**arguments).serialize() == (path, arguments)


def test_large_answer_is_never_in_memory_on_its_way(baseten, store, tmp_path, monkeypatch):
    call, trigger = left(baseten, store, "huge")
    with monkeypatch.context() as patch:  # Whatever would hold or decode it whole.
        patch.setattr("airflow_provider_baseten.api.large_body.LargeBody.read", None)
        run(trigger())
        response = call.response()
    assert (response.body, response.size) == (b"", 6_000_004)
    assert response.output() == ["x" * 6_000_000]
    call.drop_response()
    assert not [path for path in (tmp_path / "store/calls").rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_a_path_object_is_still_one_when_the_task_goes_on(baseten, store, tmp_path):
    identity = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2, "try_number": 1}
    context = {"ti": SimpleNamespace(**identity, xcom_push=lambda key, value: None)}

    def made():  # Each time by another process.
        path = ObjectStoragePath(f"file://{tmp_path}/out.json")
        return BasetenPredictOperator(task_id="t", model_id="echo", model_input=7, deferrable=True, output_path=path)

    with pytest.raises(TaskDeferred) as deferred:
        made().execute(context)
    (event,) = run(deferred.value.trigger)
    made().execute_complete(context, event)
    assert (tmp_path / "out.json").read_text() == "7"
    assert len(baseten.requests) == 1


@pytest.mark.parametrize(("model_id", "ends"), [("echo", "response"), ("broken", "error")])
def test_a_store_that_is_away_for_a_moment_loses_no_end(baseten, store, monkeypatch, model_id, ends):
    call, trigger = left(baseten, store, model_id)
    failures = []

    def write(self, name, content, real=ResultStore.write):
        if name.endswith(f"/{ends}") and len(failures) < 2:
            failures.append(name)
            raise BasetenResultStoreError("The store is away.")
        return real(self, name, content)

    monkeypatch.setattr(ResultStore, "write", write)
    monkeypatch.setattr(write_retries, "FIRST_PAUSE_SECONDS", 0.01)
    assert run(trigger()) == [{"name": call.name}]
    assert len(failures) == 2
    assert call.has_ended()
    assert len(baseten.requests) == 1


def test_answer_that_is_there_is_not_paid_again(baseten, store):
    _, trigger = left(baseten, store)
    assert run(trigger()) == run(trigger())
    assert len(baseten.requests) == 1


class TestDeadTriggerer:
    def test_unfinished_attempt_is_sent_again_with_a_warning(self, baseten, store, caplog):
        call, trigger = left(baseten, store)
        assert call.claim(Claim("first-trigger", 1.0)) is None
        run(trigger())
        assert "Trigger first-trigger no longer waits for" in caplog.text
        assert f"trigger {call.holder().id} is sending it again" in caplog.text
        assert (len(baseten.requests), call.response().status) == (1, 200)

    def test_unfinished_attempt_fails_where_that_is_wanted(self, baseten, store):
        call, trigger = left(baseten, store)
        call.claim(Claim("first-trigger", 1.0))
        run(trigger("fail"))
        assert "clear the task to send the request again" in str(call.take_error())
        assert baseten.requests == []

    def test_cancelled_trigger_leaves_its_claim(self, baseten, store):
        call, trigger = left(baseten, store, "slow")

        async def cancel_midway():
            task = asyncio.create_task(anext(trigger().run()))
            await asyncio.to_thread(baseten.started.wait, 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancel_midway())
        assert call.claim(Claim("next", 1.0)) is not None
        assert call.response() is None


class TestStoppedTriggerer:
    """A trigger whose process was stopped until another one had taken its call over."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr("airflow_provider_baseten.triggers.predict._CHECK_INTERVAL", 0.02)

    @pytest.mark.parametrize("ended", ["response", "error"])
    def test_sends_nothing_when_it_has_not_sent_yet(self, baseten, store, caplog, ended):
        call, trigger = left(baseten, store)
        call.claim(Claim("second-trigger", time.time() + 60))

        async def scenario():
            events = asyncio.create_task(anext(trigger().run()))
            await until(lambda: "waits for the response" in caplog.text)
            if ended == "response":
                response = Response(request=call.request(), status=200, headers={}, body=b"1")
                await asyncio.to_thread(call.leave_response, response)
            else:
                await asyncio.to_thread(call.leave_error, BasetenModelError("of the second trigger"))
            return await events

        assert asyncio.run(scenario()).payload == {"name": call.name}
        assert baseten.requests == []
        assert "trigger second-trigger has taken over its call" in caplog.text
        assert (call.response() is None) == (ended == "error")

    def test_takes_over_after_its_timeout_when_the_other_leaves_nothing(self, baseten, store):
        call, trigger = left(baseten, store)
        call.claim(Claim("second-trigger", time.time() + 60))
        run(BasetenPredictTrigger(**trigger().serialize()[1] | {"timeout": 0.5}))
        assert (len(baseten.requests), call.response().status) == (1, 200)

    def test_both_ids_are_logged_when_both_have_sent(self, baseten, store, caplog):
        call, trigger = left(baseten, store, "slow")

        async def scenario():
            first = asyncio.create_task(anext(trigger().run()))
            await asyncio.to_thread(baseten.started.wait, 10)
            mine = call.holder()
            second = asyncio.create_task(anext(trigger().run()))
            await until(lambda: len(baseten.requests) == 2)
            baseten.go_on.set()
            await asyncio.gather(first, second)
            return mine, call.holder()

        first, second = asyncio.run(scenario())
        assert f"Trigger {first.id} no longer waits for" in caplog.text
        assert f"Trigger {first.id} was suspended while it waited" in caplog.text
        assert f"trigger {second.id} has sent it too: it is paid for twice" in caplog.text
        assert call.response().status == 200

    def test_its_error_does_not_replace_the_answer_of_the_other(self, baseten, store):
        call, trigger = left(baseten, store, "slow")

        async def scenario():
            first = asyncio.create_task(anext(trigger().run()))
            await asyncio.to_thread(baseten.started.wait, 10)
            await asyncio.to_thread(call.take_over, Claim("second-trigger", time.time() + 60))
            response = Response(request=call.request(), status=200, headers={}, body=b"1")
            await asyncio.to_thread(call.leave_response, response)
            baseten.stop()  # The connection of the first trigger breaks.
            await first

        asyncio.run(scenario())
        assert call.take_error() is None
        assert call.response().body == b"1"

    def test_claim_that_was_withdrawn_meanwhile_sends_nothing(self, baseten, store, monkeypatch):
        call, trigger = left(baseten, store)
        claim = DeferredCall.claim

        def stopped_after(self, mine):
            found = claim(self, mine)
            call.take_over(Claim("second-trigger", mine.started_at + 1))
            call.leave_error(BasetenModelError("of the second trigger"))
            call.take_error()  # The worker takes it, and the call is free for the next attempt.
            call.leave_error(BasetenModelError("of the next attempt"))
            return found

        monkeypatch.setattr(DeferredCall, "claim", stopped_after)
        run(trigger())
        assert baseten.requests == []


class TestUnusableAnswers:
    """A 200 that is no output is an error of the attempt, and the next one sends."""

    UNUSABLE = pytest.mark.parametrize(
        "behaviour",
        [
            answer(body=b"<html>Log in</html>", content_type="text/html"),
            answer(body=b"<html>Log in</html>", content_type="text/html; charset=utf-8"),
            answer(body=b'{"a": [1, 2'),
            answer(body=b""),
            answer(body=b"", content_type=""),
            answer(body=b"<html>Log in</html>"),
            answer(body=b"[" * 100_000),
            answer(body=b'{"a": 1} trailing'),
        ],
    )

    @pytest.fixture
    def portal(self, connect, store):
        def serve(*behaviours):
            server = stack.enter_context(ScriptedServer(*behaviours))
            connect(host=server.url, password=KEY, extra={"result_store": store.uri})
            return server

        with contextlib.ExitStack() as stack:
            yield serve

    @UNUSABLE
    def test_next_attempt_sends(self, portal, run_dag, behaviour):
        server = portal(behaviour, answer(body=b'{"ok": 1}'))
        with DAG("unusable") as dag:
            BasetenPredictOperator(
                task_id="t",
                model_id="echo",
                model_input=1,
                deferrable=True,
                retries=1,
                retry_delay=datetime.timedelta(0),
                retry_policy=RetryAnyway(),
            )
        run = run_dag(dag)
        assert run.xcom("t") == {"ok": 1}
        assert len(server.requests) == 2

    @UNUSABLE
    def test_error_says_what_came(self, portal, store, behaviour):
        server = portal(behaviour)
        call, trigger = left(server, store)
        run(trigger())
        assert isinstance(call.take_error(), BasetenResponseError)
        assert call.response() is None

    def test_kept_answer_that_can_not_be_used_is_dropped(self, baseten, store):
        task = BasetenPredictOperator(task_id="t", model_id="echo", model_input=1, deferrable=True)
        names = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
        context = {"ti": SimpleNamespace(**names, max_tries=0, try_number=1)}
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        call = DeferredCall(store, deferred.value.trigger.name)
        html = {"content-type": "text/html"}
        call.leave_response(Response(request=call.request(), status=200, headers=html, body=b"<html>"))
        with pytest.raises(TaskDeferred):
            task.execute(context)
        assert call.response() is None
        call.leave_response(Response(request=call.request(), status=200, headers=html, body=b"<html>"))
        with pytest.raises(BasetenResponseError, match="HTML page"):
            task.execute_complete(context, {"name": deferred.value.trigger.name})
        assert call.response() is None


class TestDamagedFiles:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            *itertools.product(["request", "response", "error"], [b"", b"{", b"[]", b"7\n", b"\xff", b"[" * 100_000]),
            *itertools.product(["request", "response", "error"], [b"{}", b'{"new": 1}\n']),
            ("response", b'{"status": "200", "headers": {}}\n'),
            ("response", b'{"status": true, "headers": {}}\n'),
            ("response", b'{"status": 200, "headers": {}, "large": 7}\n'),
            ("error", b'{"type": "BasetenModelError", "message": "m", "fields": 7}\n'),
        ],
    )
    def test_are_typed_errors(self, baseten, store, name, content):
        call, _ = left(baseten, store)
        store.write(f"calls/{call.name}/{name}", content)
        read = {"request": call.request, "response": call.response, "error": call.take_error}
        with pytest.raises(BasetenResultStoreError, match="damaged"):
            read[name]()

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"id": 1}'])
    def test_claim_counts_as_one(self, baseten, store, content):
        call, trigger = left(baseten, store)
        store.write(f"calls/{call.name}/claim", content)
        run(trigger("fail"))
        assert "clear the task to send the request again" in str(call.take_error())

    def test_files_of_a_newer_version_are_read(self, baseten, store, tmp_path):
        call, _ = left(baseten, store)
        mine = Claim("mine", 1.0)
        call.claim(mine)
        request = call.request()
        response = Response(request=request, status=200, headers={"x": "y"}, body=b"1\n2")
        call.leave_response(response)
        call.leave_error(BasetenModelError("m", status=500))
        for name in ("request", "claim", "response", "error"):
            head, end, body = store.read(f"calls/{call.name}/{name}").partition(b"\n")
            record = json.loads(head)
            assert record["version"] == 1
            record |= {"version": 9, "field": {"new": 1}}
            store.write(f"calls/{call.name}/{name}", json.dumps(record).encode() + end + body)
        assert (call.request(), call.response(), call.holder()) == (request, response, mine)
        error = call.take_error()
        assert (type(error), str(error), error.status) == (BasetenModelError, "m", 500)

    def test_error_of_another_version_is_an_error(self, baseten, store):
        call, _ = left(baseten, store)
        store.write(f"calls/{call.name}/error", b'{"type": "BasetenNew", "message": "m", "fields": {"new": 1}}\n')
        assert str(call.take_error()) == "m"


@pytest.mark.parametrize("uri", ["file://{folder}/store", "memory://claims/{folder}"])
def test_one_of_many_creates(tmp_path, uri):
    store = ResultStore(uri.format(folder=tmp_path))
    assert [store.create("calls/a/claim", body) for body in (b"1", b"2")] == [True, False]
    assert store.read("calls/a/claim") == b"1"
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: store.create("calls/b/claim", b"%d" % number), range(8)))
    assert sum(made) == 1 or not uri.startswith("file")


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
    troubles = iter([True, True, True])

    def sometimes(method):
        def call_it(self, *arguments):
            if baseten.requests and next(troubles, False):
                raise BasetenResultStoreError("away")
            return method(self, *arguments)

        return call_it

    with monkeypatch.context() as patch:
        for name in ("read", "write", "create"):
            patch.setattr(ResultStore, name, sometimes(getattr(ResultStore, name)))
        run(trigger())
    assert next(troubles, None) is None
    assert (len(baseten.requests), call.response().status) == (1, 200)


def test_missing_input_says_that_the_store_is_not_shared(baseten, store, tmp_path):
    _, trigger = left(baseten, store)
    other = ResultStore(f"file://{tmp_path}/other")
    lost = BasetenPredictTrigger(**trigger().serialize()[1] | {"store": other.uri})
    run(lost)
    assert "do not share a result store" in str(DeferredCall(other, lost.name).take_error())


@pytest.mark.parametrize("change", [{"max_tries": 2}, {"run": "other run"}, {"name": "other task instance"}])
def test_clear_and_changed_input_are_other_calls(change):
    assert IDENTITY.request_key("f") != IDENTITY.request_key("other")
    assert IDENTITY.request_key("f") != replace(IDENTITY, **change).request_key("f")


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
