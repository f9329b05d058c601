"""Many who wait together."""

import asyncio
import gc
import json
import logging
import threading
import time
from itertools import pairwise

import pytest

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.hooks import shared_clients
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.triggers import pollers
from airflow_provider_baseten.waiting import poller, session
from tests.triggers.support import QUEUED, deliver, outcomes, same, trigger, until


async def cancelled(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TestLimit:
    def test_holds_in_every_second_whoever_comes_and_goes(self, waiting, server):
        async def scenario():
            steady = [asyncio.create_task(outcomes(trigger(f"s{n}", poll_interval=0.1))) for n in range(100)]
            for _ in range(6):
                passing = [asyncio.create_task(outcomes(trigger(f"p{n}"))) for n in range(50)]
                await asyncio.sleep(0.5)
                await cancelled(passing)
            await cancelled(steady)
            for _ in range(10):  # Each time the last one leaves.
                alone = [asyncio.create_task(outcomes(trigger(f"a{n}", poll_interval=0.1))) for n in range(20)]
                await asyncio.sleep(0.1)
                await cancelled(alone)

        waiting(scenario, calls_per_second=20)
        assert server.most_in_a_second() <= 20
        assert len(server.calls) > 50  # It is used, too.

    def test_holds_after_the_connection_could_not_be_read_for_a_while(self, waiting, server, monkeypatch):
        monkeypatch.setattr(session, "_RECONNECT", 0.5)
        real, failures = shared_clients.afind_connection, iter(range(2))

        async def aconnection(conn_id):
            if next(failures, None) is not None:
                raise RuntimeError("the API server is away")
            return await real(conn_id)

        monkeypatch.setattr(shared_clients, "afind_connection", aconnection)

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}", poll_interval=0.1))) for n in range(50)]
            await until(lambda: len(server.calls) > 20)
            await cancelled(waits)

        waiting(scenario, calls_per_second=20)
        assert server.most_in_a_second() <= 20

    def test_everybody_gets_a_turn(self, waiting, server):
        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}", poll_interval=0.05))) for n in range(60)]
            await until(lambda: len(server.calls) >= 180)
            await cancelled(waits)

        waiting(scenario, calls_per_second=100)
        asked = [len(server.times("GET", f"r{n}")) for n in range(60)]
        assert min(asked) >= 2

    def test_a_slow_server_has_a_bounded_number_of_calls_to_answer(self, waiting, server):
        server.delay = 20

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}", poll_interval=0.1))) for n in range(100)]
            await asyncio.sleep(2)
            await cancelled(waits)

        waiting(scenario, calls_per_second=200)
        assert len(server.calls) == 32

    def test_retry_after_slows_the_whole_connection(self, waiting, server):
        refused = []

        def answer(request_id):
            if refused:
                return QUEUED
            refused.append(time.monotonic())
            return 429, {"error": "slow down"}, {"Retry-After": "1"}

        server.answer = answer

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}", poll_interval=0.1))) for n in range(50)]
            await until(lambda: len(server.calls) > 30)
            await cancelled(waits)

        waiting(scenario, calls_per_second=40)
        in_the_pause = [at for at in server.times() if refused[0] + 0.2 < at < refused[0] + 0.95]
        assert in_the_pause == []
        assert server.most_in_a_second() <= 40


class TestStore:
    def test_is_looked_into_once_for_all_and_once_in_an_interval(self, waiting, store, monkeypatch):
        looks = []

        def delivered(self, request_ids, real=Deliveries.delivered):
            looks.append((time.monotonic(), len(request_ids)))
            return real(self, request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)
        names = [f"r{n}" for n in range(300)]

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(name, expects_delivery=True))) for name in names]
            await asyncio.sleep(1)
            deliver(store, *names)
            return await asyncio.gather(*waits)

        assert waiting(scenario, store_check_interval=0.3) == [{name: "ended"} for name in names]
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(looks)]
        assert min(gaps) >= 0.3
        assert max(count for _, count in looks) == 300

    def test_that_is_slow_blocks_nobody_and_is_not_asked_twice_at_a_time(self, waiting, server, store, monkeypatch):
        under_way, most = [], []
        answer_now = threading.Event()

        def delivered(self, request_ids):
            under_way.append(1)
            most.append(len(under_way))
            answer_now.wait(10)
            under_way.pop()
            return set(request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)
        lags = []

        async def measure():
            while True:
                began = time.monotonic()
                await asyncio.sleep(0.01)
                lags.append(time.monotonic() - began)

        async def scenario():
            measuring = asyncio.create_task(measure())
            for _ in range(5):  # A look outlives those who wanted it.
                wait = asyncio.create_task(outcomes(trigger("r0", expects_delivery=True)))
                await asyncio.sleep(0.1)
                await cancelled([wait])
            server.answer = lambda name: (200, {"status": "SUCCEEDED"}) if name == "r1" else QUEUED
            wait = asyncio.create_task(outcomes(trigger("r2", expects_delivery=True)))
            by_status = await outcomes(trigger("r1"))
            failing = await outcomes(trigger("r3", expects_delivery=True, deadline=time.time() + 0.5))
            answer_now.set()
            measuring.cancel()
            return by_status, failing, await wait

        assert waiting(scenario) == ({"r1": "ended"}, {"r3": "timeout"}, {"r2": "ended"})
        assert max(most) == 1
        assert max(lags) < 0.5

    def test_that_fails_ends_no_wait_and_is_told_once_a_minute(self, waiting, server, store, monkeypatch, caplog):
        away = [True]

        def delivered(self, request_ids, real=Deliveries.delivered):
            if away:
                raise BasetenResultStoreError("The result store s3://bucket can't be read.")
            return real(self, request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)
        server.answer = lambda name: (200, {"status": "FAILED"}) if name == "r1" else QUEUED

        async def scenario():
            wait = asyncio.create_task(outcomes(trigger("r2", expects_delivery=True)))
            failed = await outcomes(trigger("r1", expects_delivery=True))
            deliver(store, "r2")
            await asyncio.sleep(0.5)
            assert not wait.done()
            away.clear()
            return failed, await wait

        with caplog.at_level(logging.WARNING):
            assert waiting(scenario) == ({"r1": "failed"}, {"r2": "ended"})
        told = [record.getMessage() for record in caplog.records if "result store" in record.getMessage()]
        assert len(told) == 1
        assert "s3://bucket" in told[0]

    def test_that_does_not_answer_is_told(self, waiting, store, monkeypatch, caplog):
        monkeypatch.setattr(poller, "_REPEAT_AFTER", 0.2)
        answer_now = threading.Event()

        def delivered(self, request_ids):
            answer_now.wait(10)
            return set(request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)

        async def scenario():
            wait = asyncio.create_task(outcomes(trigger("r1", expects_delivery=True)))
            await until(lambda: "the result store does not respond" in caplog.text)
            answer_now.set()
            return await wait

        assert waiting(scenario) == {"r1": "ended"}


class TestKey:
    @pytest.mark.parametrize("expects_delivery", [True, False])
    def test_that_is_replaced_while_tasks_wait_fails_none_of_them(
        self, waiting, server, connect, store, monkeypatch, caplog, expects_delivery
    ):
        monkeypatch.setattr(poller, "_REPEAT_AFTER", 0.5)
        names = [f"r{n}" for n in range(40)]

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(name, expects_delivery=expects_delivery))) for name in names]
            await until(lambda: len(server.calls) >= 40)
            server.keys = {"secret-key-2"}
            server.answer = lambda _: (200, {"status": "CANCELED"})
            await asyncio.sleep(1.2)
            assert not any(wait.done() for wait in waits)
            connect(host=server.url, password="secret-key-2", extra={"result_store": f"file://{store}"})
            return await asyncio.gather(*waits)

        with caplog.at_level(logging.WARNING):
            assert waiting(scenario) == [{name: "failed"} for name in names]
        told = [record.getMessage() for record in caplog.records if "refuses the key" in record.getMessage()]
        assert 2 <= len(told) <= 6
        assert "40 async requests" in told[0]
        assert "secret-key" not in caplog.text


class TestEnd:
    def test_of_the_last_wait_closes_everything(self, waiting, server):
        async def scenario():
            mine = asyncio.all_tasks()
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}", expects_delivery=n < 5))) for n in range(10)]
            await until(lambda: len(server.calls) >= 20)
            assert server.connections > 0
            assert len(pollers._pollers[asyncio.get_running_loop()]) == 1
            await cancelled(waits[1:])
            calls = len(server.calls)
            await until(lambda: len(server.calls) > calls)  # One is left.
            await cancelled(waits[:1])
            await until(lambda: server.connections == 0)
            calls = len(server.calls)
            await asyncio.sleep(0.5)
            assert len(server.calls) == calls
            return [task for task in asyncio.all_tasks() - mine if "_serve" not in repr(task)]

        assert waiting(scenario) == []

    def test_a_wait_that_begins_meanwhile_keeps_its_client(self):
        opened, closed = [], []

        class Source:
            def __init__(self):
                opened.append(self)

            async def close(self):
                closed.append(self)

        async def scenario():
            shared = poller.Poller("c", Source)
            first = asyncio.create_task(shared.cancel(None, []))
            while not opened or shared._session:  # noqa: ASYNC110 - until the poller closes, and not a step longer.
                await asyncio.sleep(0)
            assert not first.done()
            async with shared._in_session():
                await first
                assert closed == opened[:1]
            assert closed == opened
            assert len(opened) == 2

        asyncio.run(scenario())

    def test_of_an_event_loop_leaves_nothing_of_it(self, waiting, store):
        deliver(store, "r1")

        def loops_after(count):
            for _ in range(count):
                assert waiting(lambda: outcomes(trigger("r1", expects_delivery=True))) == {"r1": "ended"}
            gc.collect()
            return len(pollers._pollers)

        assert loops_after(2) >= loops_after(5)  # asgiref remembers the last loop of each of its threads.

    def test_of_the_work_by_a_mistake_is_not_waited_out(self, waiting, monkeypatch):
        async def broken(self):
            raise ZeroDivisionError("a mistake")

        monkeypatch.setattr(session.Session, "_connected", broken)

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(f"r{n}"))) for n in range(3)]
            return await asyncio.gather(*waits, return_exceptions=True)

        began = time.monotonic()
        assert [type(error) for error in waiting(scenario)] == [ExceptionGroup] * 3
        assert time.monotonic() - began < 10

    def test_of_the_work_by_a_mistake_ends_a_wait_that_begins_later_too(self, waiting, monkeypatch):
        async def broken(self):
            raise ZeroDivisionError("a mistake")

        monkeypatch.setattr(session.Session, "_connected", broken)

        async def scenario():
            async with pollers.poller_of("baseten_default")._in_session(), asyncio.timeout(10):
                return [await asyncio.gather(outcomes(trigger("r1")), return_exceptions=True) for _ in range(2)]

        assert [type(error) for (error,) in waiting(scenario)] == [ExceptionGroup] * 2


def test_one_trigger_may_wait_for_many(waiting, server, store):
    names = [f"r{n}" for n in range(2000)]
    server.answer = lambda _: (200, {"status": "EXPIRED"})

    async def scenario():
        wait = asyncio.create_task(outcomes(trigger(*names, expects_delivery=True, poll_interval=30)))
        await until(lambda: len(server.calls) >= 20)
        deliver(store, *names)
        return await wait

    seen = waiting(scenario, calls_per_second=100)
    asked = {name for _, _, name in server.calls}
    assert {name for name, outcome in seen.items() if outcome == "failed"} <= asked
    assert len(seen) == 2000
    assert {name: o for name, o in seen.items() if name not in asked} == same("ended", set(names) - asked)
    assert "the-output" not in json.dumps(seen)
