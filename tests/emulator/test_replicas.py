"""Replicas: who waits, for how long, and what a cold start looks like from outside."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from airflow_provider_baseten.emulator import Emulator, Limits, ManualClock, Model, Scaling
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.replicas import Replicas


class Gate:
    """A model whose predictions end when the test says so."""

    def __init__(self) -> None:
        self.started = 0
        self._open = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def predict(self, model_input: Any) -> Any:
        self._loop = asyncio.get_running_loop()
        self.started += 1
        await self._open.wait()
        return model_input

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.set)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=0)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as clients:
        yield clients


class Scene:
    """A model with some scaling, and callers that wait for it in threads."""

    def __init__(self, baseten: Emulator, clients: ThreadPoolExecutor) -> None:
        self._baseten = baseten
        self._clients = clients
        self.deployment = baseten.models["m"].deployments["md1"]
        self.replicas = self.deployment.replicas

    def call(self, action: str = "predict") -> Future[httpx.Response]:
        url = f"{self._baseten.url}/model-m/production/{action}"
        return self._clients.submit(httpx.post, url, json={}, timeout=20)


@pytest.fixture
def scene(clock: ManualClock, gate: Gate, clients: ThreadPoolExecutor) -> Iterator[Callable[..., Scene]]:
    running: list[Emulator] = []

    def start(model: Any = None, limits: Limits | None = None, **scaling: Any) -> Scene:
        deployed = Model(model or gate.predict, scaling=Scaling(**scaling))
        running.append(Emulator({"m": deployed}, limits=limits, clock=clock))
        running[-1].start()
        return Scene(running[-1], clients)

    yield start
    for baseten in running:
        baseten.stop()


def test_requests_beyond_the_concurrency_wait(scene: Callable[..., Scene], gate: Gate) -> None:
    busy = scene(concurrency_target=2)
    answers = [busy.call() for _ in range(3)]
    until(lambda: busy.replicas.parked == 1)
    assert (gate.started, busy.replicas.in_flight) == (2, 2)
    gate.open()
    assert [answer.result().status_code for answer in answers] == [200, 200, 200]
    assert gate.started == 3
    until(lambda: busy.replicas.in_flight == 0)


def test_another_replica_starts_under_load(scene: Callable[..., Scene], clock: ManualClock, gate: Gate) -> None:
    busy = scene(max_replica=2, concurrency_target=1, cold_start=30)
    answers = [busy.call() for _ in range(3)]
    until(lambda: busy.replicas.parked == 2)
    assert (busy.replicas.ready, busy.replicas.starting) == (1, 1)
    clock.advance(30)
    until(lambda: gate.started == 2)
    assert (busy.replicas.ready, busy.replicas.starting, busy.replicas.parked) == (2, 0, 1)
    gate.open()
    assert [answer.result().status_code for answer in answers] == [200, 200, 200]


def test_request_waits_for_a_cold_start(scene: Callable[..., Scene], clock: ManualClock, gate: Gate) -> None:
    cold = scene(min_replica=0, cold_start=30)
    assert cold.deployment.status == "SCALED_TO_ZERO"
    answer = cold.call()
    until(lambda: cold.replicas.parked == 1)
    assert (cold.deployment.status, gate.started) == ("WAKING_UP", 0)
    clock.advance(29)
    until(lambda: clock.now() == 29)
    assert (cold.deployment.status, gate.started) == ("WAKING_UP", 0)
    clock.advance(1)
    until(lambda: gate.started == 1)
    assert cold.deployment.status == "ACTIVE"
    gate.open()
    assert answer.result().status_code == 200


def test_wake_starts_one_replica(scene: Callable[..., Scene], clock: ManualClock) -> None:
    cold = scene(min_replica=0, max_replica=3, cold_start=30)
    for _ in range(2):
        answer = cold.call("wake").result()
        assert (answer.status_code, answer.content) == (202, b"")
    assert (cold.replicas.starting, cold.deployment.status) == (1, "WAKING_UP")
    clock.advance(30)
    until(lambda: cold.deployment.status == "ACTIVE")
    assert cold.replicas.ready == 1


def test_idle_replicas_stop(scene: Callable[..., Scene], clock: ManualClock) -> None:
    cold = scene(lambda _: 1, min_replica=0, scale_down_delay=60)
    assert cold.call().result().status_code == 200
    until(lambda: cold.replicas.in_flight == 0)
    clock.advance(59)
    until(lambda: clock.now() == 59)
    assert cold.call().result().status_code == 200  # It begins the idle time anew.
    until(lambda: cold.replicas.in_flight == 0)
    clock.advance(59)
    until(lambda: clock.now() == 118)
    assert cold.deployment.status == "ACTIVE"
    clock.advance(1)
    until(lambda: cold.deployment.status == "SCALED_TO_ZERO")


def test_reject_on_full_starts_a_replica_all_the_same(scene: Callable[..., Scene], clock: ManualClock) -> None:
    cold = scene(lambda _: 1, min_replica=0, cold_start=30, policy="REJECT_ON_FULL")
    for _ in range(2):
        answer = cold.call().result()
        assert (answer.status_code, answer.json()["error_code"]) == (529, "rate_limited")
    assert cold.replicas.starting == 1
    clock.advance(30)
    until(lambda: cold.replicas.ready == 1)
    assert cold.call().result().status_code == 200


def test_reject_on_full_when_busy(scene: Callable[..., Scene], gate: Gate) -> None:
    busy = scene(concurrency_target=1, policy="REJECT_ON_FULL")
    first = busy.call()
    until(lambda: gate.started == 1)
    assert busy.call().result().status_code == 529
    gate.open()
    assert first.result().status_code == 200


def test_no_replica_in_time(scene: Callable[..., Scene], clock: ManualClock, gate: Gate) -> None:
    cold = scene(min_replica=0, cold_start=1000, limits=Limits(parking_seconds=600))
    answer = cold.call()
    until(lambda: cold.replicas.parked == 1)
    clock.advance(600)
    assert (answer.result().status_code, answer.result().json()["error_code"]) == (500, "model_unavailable")
    assert "x-baseten-error-source" not in answer.result().headers
    assert (gate.started, cold.replicas.parked, cold.replicas.in_flight) == (0, 0, 0)


def test_model_takes_too_long(scene: Callable[..., Scene], clock: ManualClock, gate: Gate) -> None:
    slow = scene(limits=Limits(predict_seconds=1200))
    answer = slow.call()
    until(lambda: gate.started == 1)
    clock.advance(1200)
    assert (answer.result().status_code, answer.result().json()["error_code"]) == (504, "timeout")
    until(lambda: slow.replicas.in_flight == 0)


def test_client_that_leaves_the_queue(scene: Callable[..., Scene], gate: Gate) -> None:
    busy = scene(concurrency_target=1)
    first = busy.call()
    until(lambda: gate.started == 1)
    impatient = socket.create_connection(("127.0.0.1", int(busy._baseten.url.rpartition(":")[2])))
    impatient.sendall(
        b"POST /model-m/production/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}",
    )
    until(lambda: busy.replicas.parked == 1)
    impatient.close()
    until(lambda: busy.replicas.parked == 0)
    assert busy._baseten.requests[-1].status == 499
    gate.open()
    assert first.result().status_code == 200
    assert (gate.started, busy.replicas.in_flight) == (1, 0)


def test_deactivating_refuses_those_who_wait(scene: Callable[..., Scene], clock: ManualClock) -> None:
    cold = scene(min_replica=0, cold_start=30)
    answer = cold.call()
    until(lambda: cold.replicas.parked == 1)
    cold._baseten.deactivate("m")
    assert answer.result().status_code == 400
    clock.advance(30)
    until(lambda: clock.now() == 30)
    assert (cold.deployment.status, cold.replicas.ready) == ("INACTIVE", 0)


def test_work_whose_client_left_keeps_its_place_in_the_container(tmp_path: Any) -> None:
    """As in Truss's server, a prediction runs to its end, and the next one waits for it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text("model_name: slow")
    (tmp_path / "model" / "model.py").write_text(
        "import threading\n"
        "proceed = threading.Event()\n"
        "began = threading.Event()\n"
        "class Model:\n"
        "    def predict(self, model_input):\n"
        "        if model_input == 'peek':\n"
        "            return 'free'\n"
        "        began.set()\n"
        "        proceed.wait(20)\n"
        "    def chat_completions(self, model_input):\n"
        "        if model_input == 'go':\n"
        "            proceed.set()\n"
        "        return began.wait(20)\n"
    )
    with Emulator({"m": tmp_path}) as baseten, ThreadPoolExecutor(1) as pool:
        url = f"{baseten.url}/model-m/production"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/predict", json="wait", timeout=httpx.Timeout(20, read=0.3))
        assert httpx.post(f"{url}/sync/v1/chat/completions", json="began?").json() is True
        until(lambda: baseten.requests[0].status == 499)
        second = pool.submit(httpx.post, f"{url}/predict", json="peek", timeout=20)
        until(lambda: len(baseten.requests) == 3)
        assert not second.done()
        httpx.post(f"{url}/sync/v1/chat/completions", json="go")
        assert second.result().json() == "free"


class TestReplicas:
    """The same without a server, where the order of things can be seen."""

    def test_first_come_first_served(self) -> None:
        async def run() -> list[int]:
            replicas = Replicas(Scaling(concurrency_target=1), 60, Clock())
            order: list[int] = []

            async def request(number: int) -> None:
                async with replicas.slot():
                    order.append(number)
                    await asyncio.sleep(0)

            await asyncio.gather(*(request(number) for number in range(5)))
            assert replicas.in_flight == 0
            return order

        assert asyncio.run(run()) == [0, 1, 2, 3, 4]

    def test_a_granted_place_is_not_lost_when_its_request_is_cancelled(self) -> None:
        async def run() -> None:
            replicas = Replicas(Scaling(concurrency_target=1), 60, Clock())

            async def request() -> None:
                async with replicas.slot():
                    await asyncio.sleep(0)

            async with replicas.slot():
                second = asyncio.create_task(request())
                third = asyncio.create_task(request())
                await asyncio.sleep(0)
            second.cancel()  # In this moment its place is granted, but it has not run.
            await asyncio.gather(second, third, return_exceptions=True)
            assert (second.cancelled(), third.cancelled(), replicas.in_flight) == (True, False, 0)

        asyncio.run(run())

    def test_stop_refuses_those_who_wait(self) -> None:
        async def run() -> None:
            replicas = Replicas(Scaling(min_replica=0, cold_start=60), 60, Clock())
            waiting = asyncio.create_task(replicas.slot().__aenter__())
            await asyncio.sleep(0)
            replicas.stop(bad_request("stopped"))
            with pytest.raises(Exception, match="stopped"):
                await waiting
            assert (replicas.parked, replicas.starting, replicas.in_flight) == (0, 0, 0)

        asyncio.run(run())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"min_replica": -1},
            {"max_replica": 0},
            {"min_replica": 3, "max_replica": 2},
            {"concurrency_target": 0},
            {"cold_start": -1},
            {"scale_down_delay": -1},
        ],
    )
    def test_impossible_scaling(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"must be|can't be"):
            Scaling(**wrong)


def test_manual_clock_runs_what_is_due_in_order() -> None:
    async def run() -> list[str]:
        clock = ManualClock(start=100)
        seen: list[str] = []
        clock.call_later(2, lambda: seen.append("second"))
        clock.call_later(1, lambda: seen.append("first"))
        clock.call_later(1, lambda: seen.append("cancelled")).cancel()
        clock.call_later(3, lambda: seen.append("not yet"))
        thread = threading.Thread(target=clock.advance, args=(2,))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        assert clock.now() == 102
        return seen

    assert asyncio.run(run()) == ["first", "second"]
