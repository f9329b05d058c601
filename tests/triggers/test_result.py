"""The trigger that starts DAGs: an event for each result, none lost, no output in it."""

import asyncio
import json
import logging
import shutil
from contextlib import aclosing

import pytest
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_baseten.storage.arrivals import Arrivals
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.triggers import result
from airflow_provider_baseten.triggers.result import BasetenResultTrigger, look_pause
from tests.triggers.support import until

OUTPUT = "the patient's name"


@pytest.fixture
def arrivals(store, connect, monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", "0.05")
    monkeypatch.setattr(result, "SPACING_SECONDS", 0.05)
    connect(password="secret-key-1", extra={"result_store": f"file://{store}"})
    return Arrivals(ResultStore(f"file://{store}"), "baseten_default")


def arrive(arrivals, *request_ids, **fields):
    for request_id in request_ids:
        body = {"request_id": request_id, "data": OUTPUT, "errors": []} | fields
        arrivals.save(request_id, json.dumps(body).encode())


async def payloads(trigger, number):
    """The payloads of the next events with so many results; then the trigger is ended, as Airflow does."""
    found = []
    async with asyncio.timeout(10), aclosing(trigger.run()) as events:
        async for event in events:
            found.append(event.payload)
            if sum(len(payload["results"]) for payload in found) >= number:
                break
    return found


def next_results(number):
    events = asyncio.run(payloads(BasetenResultTrigger(), number))
    return [result for payload in events for result in payload["results"]]


def ids(results):
    return [result["request_id"] for result in results]


async def collect(trigger, found):
    async for event in trigger.run():
        found += ids(event.payload["results"])


def test_an_event_names_the_request_and_holds_no_output(arrivals):
    arrive(arrivals, "r1")
    arrive(arrivals, "r2", data=None, errors=[{"code": "E", "message": OUTPUT}])
    (payload,) = asyncio.run(payloads(BasetenResultTrigger(), 2))
    assert payload.keys() == {"baseten_conn_id", "results"}
    assert payload["baseten_conn_id"] == "baseten_default"
    found = [(result["request_id"], result["status"]) for result in payload["results"]]
    assert found == [("r1", "SUCCEEDED"), ("r2", "FAILED")]
    assert all(result.keys() == {"request_id", "status", "arrived"} for result in payload["results"])
    assert OUTPUT not in json.dumps(payload)


def test_each_result_is_in_one_event_and_its_note_goes_after_a_while(arrivals, monkeypatch):
    monkeypatch.setattr(result, "SETTLE_SECONDS", 0.3)

    async def scenario():
        found = []
        running = asyncio.create_task(collect(BasetenResultTrigger(), found))
        arrive(arrivals, "r1")
        await until(lambda: found == ["r1"])
        assert arrivals.ids() == ["r1"]
        arrive(arrivals, "r2")
        await until(lambda: not arrivals.ids())
        running.cancel()
        return found

    assert asyncio.run(scenario()) == ["r1", "r2"]


def test_a_triggerer_that_dies_right_after_an_event_repeats_it(arrivals):
    arrive(arrivals, "r1")
    assert ids(next_results(1)) == ids(next_results(1)) == ["r1"]


def test_more_results_than_fit_into_an_event(arrivals, monkeypatch):
    monkeypatch.setattr(result, "_MAX_RESULTS", 40)
    names = {f"r{number}" for number in range(100)}
    arrive(arrivals, *names)
    events = asyncio.run(payloads(BasetenResultTrigger(), 100))
    assert [len(payload["results"]) for payload in events] == [40, 40, 20]
    assert {name for payload in events for name in ids(payload["results"])} == names


def test_results_of_another_connection_are_not_its_own(arrivals, store):
    arrive(Arrivals(ResultStore(f"file://{store}"), "other"), "r1")
    arrive(arrivals, "r2")
    assert ids(next_results(1)) == ["r2"]


def test_an_outage_of_the_store_is_logged_once_and_survived(arrivals, store, caplog):
    async def scenario():
        found = []
        shutil.rmtree(store)
        store.write_text("not a folder")
        running = asyncio.create_task(collect(BasetenResultTrigger(), found))
        await until(lambda: "start DAGs late or twice" in caplog.text)
        store.unlink()
        arrive(arrivals, "r1")
        await until(lambda: found == ["r1"])
        running.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text.count("start DAGs late or twice") == 1


def test_a_connection_that_is_missing_is_logged_and_looked_up_again(arrivals, connect, store, monkeypatch, caplog):
    async def scenario():
        found = []
        running = asyncio.create_task(collect(BasetenResultTrigger(baseten_conn_id="late"), found))
        await until(lambda: "Connection 'late' does not exist" in caplog.text)
        connect("late", password="secret-key-1", extra={"result_store": f"file://{store}"})
        arrive(Arrivals(ResultStore(f"file://{store}"), "late"), "r1")
        await until(lambda: found == ["r1"])
        running.cancel()

    asyncio.run(scenario())


def test_a_store_that_hangs_blocks_no_other_trigger_and_is_logged(arrivals, monkeypatch, caplog):
    import threading

    released = threading.Event()
    monkeypatch.setattr(Arrivals, "ids", lambda self: released.wait(10) and [])
    monkeypatch.setattr(result, "_WARN_AFTER", 0.05)

    async def scenario():
        running = asyncio.create_task(collect(BasetenResultTrigger(), []))
        await until(lambda: "does not respond" in caplog.text)
        running.cancel()
        released.set()

    asyncio.run(scenario())


def test_a_damaged_note_is_an_event_without_status(arrivals, store):
    arrive(arrivals, "r1")
    (note,) = (store / "arrivals").rglob("r1")
    note.write_text("[]")
    assert [(found["request_id"], found["status"]) for found in next_results(1)] == [("r1", None)]


def test_equal_watchers_are_one_trigger_of_airflow():
    (path, kwargs), (other_path, other_kwargs) = (BasetenResultTrigger().serialize() for _ in range(2))
    assert BaseEventTrigger.hash(path, kwargs) == BaseEventTrigger.hash(other_path, other_kwargs)
    other = BasetenResultTrigger(baseten_conn_id="staging").serialize()
    assert BaseEventTrigger.hash(path, kwargs) != BaseEventTrigger.hash(*other)
    assert type(BasetenResultTrigger(**kwargs)).__name__ == path.rpartition(".")[2]


def test_pauses_grow_to_a_minute():
    assert [look_pause(failures, 5.0) for failures in (0, 1, 3, 20)] == [5.0, 10.0, 40.0, 60.0]
    assert look_pause(5, 300.0) == 300.0


def test_results_that_arrive_soon_after_an_event_share_the_next_one(arrivals, monkeypatch):
    monkeypatch.setattr(result, "SPACING_SECONDS", 0.5)

    async def scenario():
        running = aclosing(BasetenResultTrigger().run())
        async with asyncio.timeout(10), running as events:
            arrive(arrivals, "r1")
            first = await anext(events)
            waiting = asyncio.create_task(anext(events))
            arrive(arrivals, "r3")
            await asyncio.to_thread(arrive, arrivals, "r2")
            return [ids(event.payload["results"]) for event in (first, await waiting)]

    assert asyncio.run(scenario()) == [["r1"], ["r3", "r2"]]


def test_a_store_that_does_not_delete_holds_no_results_back(arrivals, monkeypatch, caplog):
    monkeypatch.setattr(result, "SETTLE_SECONDS", 0.0)

    def refuse(self, request_id):
        raise PermissionError("read and write only")

    async def scenario():
        found = []
        monkeypatch.setattr(Arrivals, "remove", refuse)
        running = asyncio.create_task(collect(BasetenResultTrigger(), found))
        arrive(arrivals, "r1")
        await until(lambda: "PermissionError" in caplog.text)
        arrive(arrivals, "r2")
        await until(lambda: found == ["r1", "r2"])
        running.cancel()

    asyncio.run(scenario())
    assert caplog.text.count("PermissionError") == 1
