"""Lives of deferred predicts: triggerers that die, or are stopped and continue, and answers that can't be used.

Each is drawn from a seed. Play one again: ``pytest "tests/random/test_predict_lives.py::test_life[17]"``.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.compat import BaseHook
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenModelError,
    BasetenOrphanedRequestError,
    BasetenResponseError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.triggers import predict as trigger_module
from airflow_provider_baseten.triggers.predict import BasetenPredictTrigger
from tests.random.virtual_time import VirtualLoop

LIVES = 150
UNUSABLE = [
    ("text/html", b"<html>Log in</html>"),
    ("application/json", b'{"sent": 1'),
    ("application/json", b"<html>"),
    ("", b""),
]

# What has happened in all lives so far.
seen: Counter[str] = Counter()

RUNNING: ContextVar["Process"] = ContextVar("running")


class Process:
    """A triggerer that runs the trigger: it can be stopped at every step, and continue."""

    def __init__(self, serialized: tuple[str, dict[str, Any]]) -> None:
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.was_stopped = self.was_killed = self.is_over = False
        self.work = asyncio.create_task(self._run(BasetenPredictTrigger(**serialized[1])))

    async def _run(self, trigger: Any) -> Any:
        RUNNING.set(self)
        event = await anext(trigger.run())
        await self.goes_on.wait()
        return event.payload

    async def step(self, work: Callable[[], Any]) -> Any:
        await self.goes_on.wait()
        await asyncio.sleep(0.01)
        await self.goes_on.wait()
        found = await work()
        await self.goes_on.wait()
        return found


@dataclass
class Send:
    """A predict that Baseten got."""

    number: int
    process: Process
    attempt: int
    at: float
    ended: str | None = None


class Life:
    """One task instance and its model."""

    def __init__(self, seed: int) -> None:
        ExecutorSafeguard.test_mode = True  # It would warn that no task runner calls.
        self.draw = Random(seed)
        self.policy = self.draw.choice(["resubmit", "resubmit", "fail"])
        self.sends: list[Send] = []
        self.attempt = 0
        self.violations: list[str] = []

    async def client(self) -> "Life":
        return self

    async def send(self, request: Request) -> Response:
        process = RUNNING.get()
        send = Send(len(self.sends), process, self.attempt, time.time())
        self._check_send(send)
        self.sends.append(send)
        try:
            await asyncio.sleep(self.draw.expovariate(1 / 20))
        except asyncio.CancelledError:
            send.ended = "dropped"
            raise
        end = self.draw.choice(["ok", "ok", "unusable", "error", "unavailable"])
        send.ended = end
        seen[end] += 1
        await process.goes_on.wait()
        if end in {"error", "unavailable"}:
            raise (BasetenModelError if end == "error" else BasetenUnavailableError)("no answer", retryable=True)
        kind, body = self.draw.choice(UNUSABLE) if end == "unusable" else ("application/json", b"%d" % send.number)
        return Response(request=request, status=200, headers={"content-type": kind}, body=body)

    def _check_send(self, later: Send) -> None:
        for earlier in self.sends:
            if earlier.process is later.process:
                self.violations.append(f"one trigger sends twice: {earlier} {later}")
            hurt = earlier.process.was_stopped or earlier.process.was_killed or earlier.process.is_over
            if not hurt and earlier.ended in {None, "ok"}:
                self.violations.append(f"sent again for nothing: {earlier} {later}")
            if earlier.process.was_killed and earlier.attempt == later.attempt and self.policy == "fail":
                self.violations.append(f"sent again against the policy: {earlier} {later}")
        if later.process.was_stopped and any(s.process is not later.process and s.ended is None for s in self.sends):
            self.violations.append(f"a trigger that was stopped sends what another one has sent: {later}")

    async def live(self) -> Any:
        """Make attempts until one has an output, or the policy ends the task."""
        for self.attempt in range(12):
            before = len(self.sends)
            try:
                return await self._attempt()
            except BasetenOrphanedRequestError:
                seen["orphaned"] += 1
                if self.policy != "fail":
                    self.violations.append("orphaned although it may be sent again")
                return None
            except BasetenError as error:
                seen[type(error).__name__] += 1
                if len(self.sends) == before:
                    self.violations.append(f"attempt {self.attempt} fails without sending: {error}")
        return None

    async def _attempt(self) -> Any:
        operator = BasetenPredictOperator(
            task_id="t",
            model_id="abc",
            model_input=1,
            deferrable=True,
            timeout=300,
            on_orphaned_request=self.policy,  # type: ignore[arg-type]
        )
        names = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 9}
        ti = SimpleNamespace(**names, try_number=self.attempt + 1, xcom_push=lambda **_: None)
        try:
            return operator.execute({"ti": ti})  # type: ignore[arg-type, typeddict-item]
        except TaskDeferred as deferral:
            event = await self._deferred(deferral.trigger.serialize())
            return operator.execute_complete({"ti": ti}, event, **(deferral.kwargs or {}))  # type: ignore[arg-type, typeddict-item]

    async def _deferred(self, serialized: tuple[str, dict[str, Any]]) -> Any:
        """Run the trigger, in one triggerer after the other; the first event counts."""
        processes = [Process(serialized)]
        helpers: list[asyncio.Task[None]] = []
        for _ in range(self.draw.choice([0, 0, 1, 2])):
            await asyncio.wait({p.work for p in processes}, timeout=self.draw.choice([0.005, 0.015, 0.03, 15.0]))
            current = processes[-1]
            if any(p.work.done() for p in processes):
                break
            if self.draw.random() < 0.5:
                seen["killed"] += 1
                current.was_killed = True
                current.work.cancel()
            else:
                seen["stopped"] += 1
                current.was_stopped = True
                current.goes_on.clear()
                helpers.append(asyncio.create_task(self._go_on(current)))
            await asyncio.sleep(30)  # Until Airflow notices.
            processes.append(Process(serialized))
        try:
            alive = {p.work for p in processes if not p.was_killed}
            while True:
                done, alive = await asyncio.wait(alive, return_when=asyncio.FIRST_COMPLETED, timeout=3600)
                events = [work.result() for work in done if not work.cancelled()]
                if events or not alive or not done:
                    assert events, "no trigger ends"
                    return events[0]
        finally:
            # What still runs continues for a while beside what the worker does next.
            for process in processes:
                process.is_over = True
                helpers.append(asyncio.create_task(self._end(process)))
            self.pending = [*getattr(self, "pending", []), *helpers, *(p.work for p in processes)]

    async def _end(self, process: Process) -> None:
        """Let a trigger end that no task waits for any more."""
        await asyncio.sleep(self.draw.choice([0.0, 1.0, 3.0]))
        if not process.was_stopped:
            process.work.cancel()

    async def _go_on(self, process: Process) -> None:
        await asyncio.sleep(self.draw.choice([31, 45, 60]))
        process.goes_on.set()
        await asyncio.sleep(self.draw.choice([0.5, 3, 30]))
        process.work.cancel()  # Airflow finds that the trigger was given to another triggerer.


@pytest.fixture
def live(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    loop = VirtualLoop(1_800_000_000.0)
    extra = f'{{"result_store": "file://{tmp_path}/store"}}'
    connection = Connection(conn_id="baseten_default", conn_type="baseten", password="k", extra=extra)
    monkeypatch.setattr(BaseHook, "get_connection", lambda *_: connection)
    monkeypatch.setattr(time, "time", loop.epoch_time)
    monkeypatch.setattr(time, "monotonic", loop.time)
    in_thread = trigger_module.in_thread

    async def in_steps(*call: Any) -> Any:
        return await RUNNING.get().step(lambda: in_thread(*call))

    monkeypatch.setattr(trigger_module, "in_thread", in_steps)

    def play(seed: int) -> Life:
        life = Life(seed)
        monkeypatch.setattr(trigger_module, "shared_client", lambda *_, **__: nullcontext(life))

        async def scenario() -> Any:
            value = await life.live()
            for task in getattr(life, "pending", []):
                task.cancel()
            await asyncio.gather(*getattr(life, "pending", []), return_exceptions=True)
            return value

        with caplog.at_level(logging.WARNING):
            value = loop.run_until_complete(scenario())
        good = [send.number for send in life.sends if send.ended == "ok"]
        if value is not None and value not in good:
            life.violations.append(f"returns {value}, the answers were {good}")
        _check_warnings(life, caplog.text)
        return life

    yield play
    loop.close()


def _check_warnings(life: Life, log: str) -> None:
    """What two triggers have sent in one attempt is logged with both ids."""
    for attempt in {send.attempt for send in life.sends}:
        count = sum(send.attempt == attempt for send in life.sends)
        if count > 1 and log.count("is sending it again") < 1:
            life.violations.append(f"sent {count} times in attempt {attempt}, and nothing is logged")


@pytest.mark.parametrize("seed", range(LIVES))
def test_life(seed: int, live: Any) -> None:
    life = live(seed)
    assert not life.violations, f"Seed {seed}: {life.violations}"


def test_lives_are_eventful(live: Any) -> None:
    """All troubles happen, or the rules would hold for nothing."""
    wanted = {"ok", "unusable", "error", "unavailable", "killed", "stopped", "orphaned", BasetenResponseError.__name__}
    for seed in range(LIVES, 2 * LIVES):
        if wanted <= seen.keys():
            return
        live(seed)
    pytest.fail(f"Never happened: {wanted - seen.keys()}")
