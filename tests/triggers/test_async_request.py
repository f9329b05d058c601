"""What a waiting trigger sees, and what it tells."""

import asyncio
import json
import logging
import random
import threading
import time
from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.triggers import pollers
from airflow_provider_baseten.triggers.async_request import BasetenAsyncRequestTrigger
from airflow_provider_baseten.waiting import session, state, waiter
from tests.triggers.support import NOT_FOUND, QUEUED, TARGET, deliver, outcomes, same, trigger, until


class TestArguments:
    def test_are_ids_and_numbers_and_make_the_same_trigger_again(self):
        options = {"deadline": 1234.5, "poll_interval": 7, "began": 1200.0}
        made = trigger("r1", "r2", expects_delivery=True, cancel_on_kill=False, **options)
        classpath, arguments = made.serialize()
        assert arguments == {
            "baseten_conn_id": "baseten_default",
            "target": TARGET,
            "request_ids": ["r1", "r2"],
            "expects_delivery": True,
            "is_assumed": False,
            "cancel_on_kill": False,
            "page": "",
            **options,
        }
        assert classpath == "airflow_provider_baseten.triggers.async_request.BasetenAsyncRequestTrigger"
        again = BasetenAsyncRequestTrigger(**json.loads(json.dumps(arguments)))
        assert again.serialize() == made.serialize()

    def test_an_id_that_can_not_be_one_is_an_error_of_that_trigger_alone(self, waiting, server, store):
        async def scenario():
            good = asyncio.create_task(outcomes(trigger("r1", expects_delivery=True)))
            with pytest.raises(BasetenInputError, match="request_id"):
                await outcomes(trigger("../../r2", expects_delivery=True))
            deliver(store, "r1")
            return await good

        assert waiting(scenario) == {"r1": "ended"}
        assert {request_id for _, _, request_id in server.calls} <= {"r1"}


class TestOutcomes:
    @pytest.mark.parametrize(
        ("status", "outcome"), [("SUCCEEDED", "ended"), ("FAILED", "failed"), ("EXPIRED", "failed")]
    )
    def test_come_from_the_status_if_there_is_no_delivery(self, waiting, server, status, outcome):
        async def scenario():
            wait = asyncio.create_task(outcomes(trigger("r1")))
            await until(lambda: len(server.calls) >= 2)
            server.answer = lambda _: (200, {"status": status, "errors": [{"code": "X", "message": "the-text"}]})
            return await wait

        assert waiting(scenario) == {"r1": outcome}

    @pytest.mark.parametrize("seed", range(3))
    def test_odd_answers_to_a_status_call_end_no_wait(self, waiting, server, seed):
        draw = random.Random(seed)
        values = [None, 7, 10**400, True, [], ["FAILED"], {}, {"FAILED": 1}, "", "x" * 5000, "failed\n", "\ud800"]
        odd = [(200, value) for value in values]
        odd += [(200, {"status": value, "webhook_status": draw.choice(values)}) for value in values]
        odd += [(429, {"retry_after": value}) for value in (-1, 0, draw.choice(["NaN", [], {}]))]
        odd += [(draw.choice([302, 418, 500]), value) for value in values]
        draw.shuffle(odd)

        async def scenario():
            server.answer = lambda _: odd.pop() if odd else (200, {"status": "EXPIRED", "errors": {"a": [1e999]}})
            return await outcomes(trigger("r1", poll_interval=0.01, deadline=time.time() + 60))

        assert waiting(scenario) == {"r1": "failed"}
        assert odd == []

    def test_come_from_the_store_without_further_calls(self, waiting, server, store):
        async def scenario():
            wait = asyncio.create_task(outcomes(trigger("r1", "r2", "r1", expects_delivery=True)))
            await until(lambda: server.times("GET", "r1"))
            deliver(store, "r1")
            await asyncio.sleep(0.3)
            asked = len(server.times("GET", "r1"))
            await until(lambda: len(server.times("GET", "r2")) >= 6)
            assert len(server.times("GET", "r1")) == asked
            deliver(store, "r2")
            return await wait

        assert waiting(scenario) == same("ended", ["r1", "r2"])
        assert server.times("POST") == []

    def test_are_given_to_each_of_those_who_wait_for_the_same_request(self, waiting, store):
        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger("r1", expects_delivery=d))) for d in (True, True, False)]
            await asyncio.sleep(0.05)
            waits.pop(0).cancel()
            deliver(store, "r1")
            waits.pop().cancel()
            return await waits[0]

        assert waiting(scenario) == {"r1": "ended"}

    def test_a_request_that_is_not_known_yet_is_waited_for(self, waiting, server, store):
        server.answer = lambda _: NOT_FOUND

        async def scenario():
            waits = [
                asyncio.create_task(outcomes(trigger(name, expects_delivery=name == "r1"))) for name in ("r1", "r2")
            ]
            await until(lambda: min(len(server.times("GET", name)) for name in ("r1", "r2")) >= 2)
            deliver(store, "r1")
            server.answer = lambda _: (200, {"status": "SUCCEEDED"})
            return await asyncio.gather(*waits)

        assert waiting(scenario) == [{"r1": "ended"}, {"r2": "ended"}]

    @pytest.mark.parametrize("expects_delivery", [True, False])
    def test_a_request_that_stays_unknown_is_lost(self, waiting, server, monkeypatch, expects_delivery):
        monkeypatch.setattr(state, "GRACE", 0.5)
        server.answer = lambda _: NOT_FOUND
        began = time.monotonic()
        assert waiting(lambda: outcomes(trigger("r1", expects_delivery=expects_delivery))) == {"r1": "lost"}
        assert time.monotonic() - began >= 0.5

    def test_a_request_that_vanishes_late_is_not_asked_for_as_rarely_as_others(self, waiting, server, monkeypatch):
        for module in (state, session, waiter):
            monkeypatch.setattr(module, "GRACE", 0.4)
        monkeypatch.setattr(waiter, "poll_delay", lambda polls, longest, draw: longest if polls else 0.01)
        server.answer = lambda _: NOT_FOUND
        began = time.monotonic()
        assert waiting(lambda: outcomes(trigger("r1", poll_interval=300))) == {"r1": "lost"}
        assert time.monotonic() - began < 5

    def test_who_expects_a_delivery_asks_no_more_often_than_the_store_is_looked_into(self, waiting, server):
        async def scenario():
            waits = [
                asyncio.create_task(outcomes(trigger(name, expects_delivery=name == "r1", poll_interval=30)))
                for name in ("r1", "r2")
            ]
            await until(lambda: len(server.times("GET", "r2")) == 2)
            for wait in waits:
                wait.cancel()

        waiting(scenario, store_check_interval=10)
        assert server.times("GET", "r1") == []

    def test_a_delivery_that_the_store_can_not_show_is_not_lost(self, waiting, server, store, monkeypatch):
        monkeypatch.setattr(state, "GRACE", 0.3)
        server.answer = lambda _: (200, {"status": "SUCCEEDED", "webhook_status": "SUCCEEDED"})
        deliver(store, "r1")
        looks = []

        def delivered(self, request_ids, real=Deliveries.delivered):
            looks.append(time.monotonic())
            if len(looks) <= 12:
                raise BasetenResultStoreError("The store is away.")
            return real(self, request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)
        began = time.monotonic()
        assert waiting(lambda: outcomes(trigger("r1", expects_delivery=True))) == {"r1": "ended"}
        assert time.monotonic() - began > 1  # Longer than what is not in a store that answers is waited for.

    def test_a_store_that_is_back_has_time_to_be_filled(self, waiting, server, store, monkeypatch):
        for module in (state, session, waiter):
            monkeypatch.setattr(module, "GRACE", 0.5)
        server.answer = lambda _: (200, {"status": "WEBHOOK_FAILED", "webhook_status": "FAILED"})
        away, looks = threading.Event(), []
        away.set()

        def delivered(self, request_ids, real=Deliveries.delivered):
            looks.append(time.monotonic())
            if away.is_set():
                raise BasetenResultStoreError("The store is away.")
            return real(self, request_ids)

        monkeypatch.setattr(Deliveries, "delivered", delivered)

        async def scenario():
            waits = [asyncio.create_task(outcomes(trigger(name, expects_delivery=True))) for name in ("r1", "r2")]
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 1)
            away.clear()
            looks.clear()
            await until(lambda: looks)  # What the receiver holds is not there yet at this look.
            deliver(store, "r1")
            found = [await wait for wait in waits]
            assert time.monotonic() - looks[0] >= 0.5
            return found

        assert waiting(scenario) == [{"r1": "ended"}, {"r2": "lost"}]

    def test_no_trouble_with_calls_ends_a_wait(self, waiting, server, caplog):
        troubles = iter(
            [(500, {}), None, (429, {}, {"Retry-After": "0"}), (502, {"e": "text"}), (200, ["?"]), (403, {})]
        )
        server.answer = lambda _: next(troubles, (200, {"status": "SUCCEEDED"}))
        assert waiting(lambda: outcomes(trigger("r1"))) == {"r1": "ended"}
        assert len(server.calls) == 7
        assert "secret-key-1" not in caplog.text


class TestDeadline:
    def test_is_kept_although_nobody_answers(self, waiting, server):
        server.delay = 20
        count = 500

        async def scenario():
            deadline = time.time() + 1
            triggers = [trigger(f"r{n}", deadline=deadline, expects_delivery=n % 2 == 0) for n in range(count)]
            events = await asyncio.gather(*(outcomes(t) for t in triggers))
            return events, time.time() - deadline

        events, late = waiting(scenario, calls_per_second=20)
        assert events == [{f"r{n}": "timeout"} for n in range(count)]
        assert 0 <= late < 0.5
        assert len(server.calls) <= 21

    def test_that_has_passed_while_no_triggerer_ran_hides_no_delivery(self, waiting, store):
        deliver(store, "r1")

        async def scenario():
            first = asyncio.create_task(outcomes(trigger("r0", expects_delivery=True)))
            await asyncio.sleep(0.05)  # The first look is over.
            late = await outcomes(trigger("r1", "r2", deadline=time.time() - 3600, expects_delivery=True))
            first.cancel()
            return late

        assert waiting(scenario) == {"r1": "ended", "r2": "timeout"}

    def test_of_a_vanished_request_says_lost(self, waiting, server):
        server.answer = lambda _: NOT_FOUND

        async def scenario():
            return await outcomes(trigger("r1", deadline=time.time() + 1.5))

        assert waiting(scenario) == {"r1": "lost"}


class TestKill:
    @pytest.fixture
    def states(self, monkeypatch):
        """What Airflow says about task instances; an exception is raised."""
        answers = {}
        asked = []

        def get_task_states(**query):
            asked.append(query)
            if isinstance(answers["states"], Exception):
                raise answers["states"]
            return answers["states"]

        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", get_task_states)
        answers["asked"] = asked
        return answers

    def kill(self, waiting, server, map_index=-1, **arguments):
        async def scenario():
            made = trigger("r1", "r2", "r3", **arguments)
            made.task_instance = SimpleNamespace(dag_id="d", run_id="run", task_id="t", map_index=map_index)
            server.answer = lambda name: (200, {"status": "SUCCEEDED"}) if name == "r2" else QUEUED
            wait = asyncio.create_task(outcomes(made))
            await until(lambda: made._outcomes and server.times("GET", "r1"))
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
            await made.on_kill()

        waiting(scenario)
        return [request_id for _, method, request_id in server.calls if method == "DELETE"]

    @pytest.mark.parametrize("state", ["failed", "success", "removed", None])
    def test_by_a_user_cancels_what_has_no_outcome(self, waiting, server, states, state):
        states["states"] = {"run": {"t": state}}
        assert sorted(self.kill(waiting, server)) == ["r1", "r3"]
        assert states["asked"] == [{"dag_id": "d", "task_ids": ["t"], "run_ids": ["run"], "map_index": -1}]
        assert server.times("POST") == []

    def test_of_a_mapped_task_looks_at_its_own_index(self, waiting, server, states):
        states["states"] = {"run": {"t_3": "deferred", "t_4": "failed"}}
        assert self.kill(waiting, server, map_index=3) == []
        assert sorted(self.kill(waiting, server, map_index=4)) == ["r1", "r3"]

    @pytest.mark.parametrize("answer", [{}, {"run": {}}], ids=["no run", "no task"])
    def test_of_a_deleted_run_cancels_what_has_no_outcome(self, waiting, server, states, answer):
        states["states"] = answer
        assert sorted(self.kill(waiting, server)) == ["r1", "r3"]

    @pytest.mark.parametrize(
        "answer",
        [{"run": {"t": "deferred"}}, {"other": {"t": "failed"}}, RuntimeError("no answer")],
        ids=["still deferred", "another run", "not to be had"],
    )
    def test_that_is_no_user_s_cancels_nothing(self, waiting, server, states, answer):
        states["states"] = answer
        assert self.kill(waiting, server) == []

    def test_whose_task_still_waits_says_that_nothing_is_cancelled(self, waiting, server, states, caplog):
        states["states"] = {"run": {"t": "deferred"}}
        with caplog.at_level(logging.INFO):
            assert self.kill(waiting, server) == []
        assert "Nothing is cancelled, because the task still waits" in caplog.text

    def test_cancels_nothing_if_it_shall_not(self, waiting, server, states):
        states["states"] = {"run": {"t": "failed"}}
        assert self.kill(waiting, server, cancel_on_kill=False) == []
        assert states["asked"] == []

    def test_lasts_no_longer_than_airflow_allows(self, waiting, server, states, monkeypatch):
        monkeypatch.setattr("airflow_provider_baseten.triggers.async_request._KILL_TIMEOUT", 0.3)
        states["states"] = {"run": {"t": "failed"}}
        made = trigger("r1")
        made.task_instance = SimpleNamespace(dag_id="d", run_id="run", task_id="t", map_index=-1)
        server.delay = 20

        async def scenario():
            with pytest.raises(TimeoutError):
                await made.on_kill()
            return len(asyncio.all_tasks())

        began = time.monotonic()
        waiting(scenario)
        assert time.monotonic() - began < 2
        assert pollers._pollers == {} or all(
            p._session is None for ps in pollers._pollers.values() for p in ps.values()
        )
