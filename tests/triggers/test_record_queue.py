"""Records of triggers are kept one after the other, newest only, and never end or delay a trigger."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_baseten.activity.records import UsageRecord
from airflow_provider_baseten.triggers import record_queue
from airflow_provider_baseten.triggers.record_queue import RecordQueue
from tests.triggers.support import until


def task(name: str) -> Any:
    return SimpleNamespace(dag_id="dag", run_id="run", task_id=name, map_index=-1)


def record(requests: int) -> UsageRecord:
    return UsageRecord(at=0.0, requests=requests)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    kept: list[tuple[str, int]] = []
    monkeypatch.setattr(record_queue, "_PAUSE", 0.0)
    monkeypatch.setattr(record_queue, "keep_record", lambda ti, made: kept.append((ti.task_id, made.requests)))
    return kept


def test_only_the_newest_record_of_a_task_is_kept(kept):
    async def scenario():
        queue = RecordQueue()
        for requests in range(1000):
            queue.put(task("a"), lambda requests=requests: record(requests))
        queue.put(task("b"), lambda: record(1))
        await until(lambda: len(kept) == 2)
        assert kept == [("a", 999), ("b", 1)]

    asyncio.run(scenario())


def test_the_record_of_a_wait_that_has_ended_is_not_kept(kept):
    async def scenario():
        queue = RecordQueue()
        queue.put(task("a"), lambda: record(1))
        queue.put(task("b"), lambda: record(2))
        queue.drop(task("a"))
        queue.drop(task("unknown"))
        await until(lambda: kept)
        assert kept == [("b", 2)]

    asyncio.run(scenario())


def test_an_error_ends_nothing(kept, monkeypatch):
    async def scenario():
        keep = record_queue.keep_record

        def fail_once(ti: Any, made: UsageRecord) -> None:
            if ti.task_id == "a":
                raise RuntimeError("no XComs now")
            keep(ti, made)

        monkeypatch.setattr(record_queue, "keep_record", fail_once)
        queue = RecordQueue()
        queue.put(task("a"), lambda: record(1))
        queue.put(task("b"), lambda: record(2))
        await until(lambda: kept)
        assert kept == [("b", 2)]

    asyncio.run(scenario())


def test_a_slow_api_blocks_neither_the_loop_nor_takes_two_calls_at_a_time(kept, monkeypatch):
    async def scenario():
        go_on, running, most = threading.Event(), [0], [0]

        def slow(ti: Any, made: UsageRecord) -> None:
            running[0] += 1
            most[0] = max(most[0], running[0])
            assert go_on.wait(10)
            running[0] -= 1
            kept.append((ti.task_id, made.requests))

        monkeypatch.setattr(record_queue, "keep_record", slow)
        queue = RecordQueue()
        for name in "abc":
            queue.put(task(name), lambda: record(1))
        await until(lambda: running[0])
        queue.put(task("d"), lambda: record(1))
        go_on.set()
        await until(lambda: len(kept) == 4)
        assert most == [1]

    asyncio.run(scenario())


def test_a_queue_that_was_empty_goes_on(kept):
    async def scenario():
        queue = RecordQueue()
        queue.put(task("a"), lambda: record(1))
        await until(queue._writer.done)
        queue.put(task("a"), lambda: record(2))
        await until(lambda: len(kept) == 2)

    asyncio.run(scenario())
