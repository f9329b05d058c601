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
    connect(password="secret-key-1", extra={"result_store": f"file://{store}"})
    return Arrivals(ResultStore(f"file://{store}"), "baseten_default")


def arrive(arrivals, *request_ids, **fields):
    for request_id in request_ids:
        body = {"request_id": request_id, "data": OUTPUT, "errors": []} | fields
        arrivals.save(request_id, json.dumps(body).encode())


async def events_of(trigger, number):
    """The payloads of the next events; then the trigger is ended, as Airflow does."""
    found = []
    async with asyncio.timeout(10), aclosing(trigger.run()) as events:
        async for event in events:
            found.append(event.payload)
            if len(found) == number:
                return found
    return found


def next_events(number, trigger=None):
    return asyncio.run(events_of(trigger or BasetenResultTrigger(), number))


async def collect(trigger, found):
    async for event in trigger.run():
        found.append(event.payload["request_id"])


def test_an_event_names_the_request_and_holds_no_output(arrivals):
    arrive(arrivals, "r1")
    arrive(arrivals, "r2", data=None, errors=[{"code": "E", "message": OUTPUT}])
    events = next_events(2)
    assert [(event["request_id"], event["status"]) for event in events] == [("r1", "SUCCEEDED"), ("r2", "FAILED")]
    assert all(event.keys() == {"baseten_conn_id", "request_id", "status", "arrived"} for event in events)
    assert OUTPUT not in json.dumps(events)


def test_each_result_has_one_event_and_its_note_goes_after_a_while(arrivals, monkeypatch):
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
    assert [event["request_id"] for event in next_events(1)] == ["r1"]
    assert [event["request_id"] for event in next_events(1)] == ["r1"]


def test_more_results_than_one_look_takes(arrivals, monkeypatch):
    monkeypatch.setattr(result, "_MAX_RESULTS", 40)
    names = {f"r{number}" for number in range(100)}
    arrive(arrivals, *names)
    assert {event["request_id"] for event in next_events(100)} == names


def test_results_of_another_connection_are_not_its_own(arrivals, store):
    arrive(Arrivals(ResultStore(f"file://{store}"), "other"), "r1")
    arrive(arrivals, "r2")
    assert [event["request_id"] for event in next_events(1)] == ["r2"]


def test_an_outage_of_the_store_is_logged_once_and_survived(arrivals, store, caplog):
    async def scenario():
        found = []
        shutil.rmtree(store)
        store.write_text("not a folder")
        running = asyncio.create_task(collect(BasetenResultTrigger(), found))
        await until(lambda: "start no DAGs now" in caplog.text)
        store.unlink()
        arrive(arrivals, "r1")
        await until(lambda: found == ["r1"])
        running.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text.count("start no DAGs now") == 1


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
    assert [(event["request_id"], event["status"]) for event in next_events(1)] == [("r1", None)]


def test_equal_watchers_are_one_trigger_of_airflow():
    (path, kwargs), (other_path, other_kwargs) = (BasetenResultTrigger().serialize() for _ in range(2))
    assert BaseEventTrigger.hash(path, kwargs) == BaseEventTrigger.hash(other_path, other_kwargs)
    other = BasetenResultTrigger(baseten_conn_id="staging").serialize()
    assert BaseEventTrigger.hash(path, kwargs) != BaseEventTrigger.hash(*other)
    assert type(BasetenResultTrigger(**kwargs)).__name__ == path.rpartition(".")[2]


def test_pauses_grow_to_a_minute():
    assert [look_pause(failures, 5.0) for failures in (0, 1, 3, 20)] == [5.0, 10.0, 40.0, 60.0]
    assert look_pause(5, 300.0) == 300.0
