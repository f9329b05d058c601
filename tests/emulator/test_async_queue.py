"""The async queue: who runs when, and what happens when the model fails."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from async_support import Caller, receiving, until
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from airflow_provider_baseten.emulator import Emulator, ManualClock, Model, Scaling, Upstream
from airflow_provider_baseten.emulator.invocation import interpret_response


class Worker:
    """A model whose predictions end when the test says so."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.places = threading.Semaphore(0)

    def predict(self, model_input: Any) -> Any:
        self.inputs.append(model_input)
        assert self.places.acquire(timeout=20)
        return model_input

    def finish(self, count: int = 1) -> None:
        self.places.release(count)


class Server:
    """A custom server that answers with the statuses that it is told, then with 200; it remembers when it was asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.statuses: list[int] = []
        self.asked_at: list[float] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("This server has no lifespan.")
        self.asked_at.append(self.clock.now())
        status = self.statuses.pop(0) if self.statuses else 200
        answer: Response = PlainTextResponse("reason", status) if status >= 300 else PlainTextResponse("output")
        await answer(scope, receive, send)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=0)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.finish(1000)


@pytest.fixture
def server(clock: ManualClock) -> Server:
    return Server(clock)


@pytest.fixture
def serve(clock: ManualClock) -> Iterator[Callable[..., Caller]]:
    running: list[Emulator] = []

    def start(model: Any, **scaling: Any) -> Caller:
        running.append(Emulator({"m": Model(model, scaling=Scaling(**scaling))}, clock=clock))
        running[-1].start()
        return Caller(running[-1])

    yield start
    for baseten in running:
        baseten.stop()


def passes(clock: ManualClock, seconds: float) -> None:
    then = clock.now() + seconds
    clock.advance(seconds)
    until(lambda: clock.now() == then)


class TestOrder:
    def test_priorities_then_first_come_first_served(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=1)
        worker.finish(6)
        caller.baseten.hold()
        for name, priority in [("a", 2), ("b", 1), ("c", 0), ("d", 2), ("e", 0), ("f", 1)]:
            caller.submit(name, priority=priority)
        caller.baseten.release()
        until(lambda: len(worker.inputs) == 6)
        assert "".join(worker.inputs) == "cebfad"

    def test_the_concurrency_is_kept(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=2)
        requests = [caller.submit(number) for number in range(5)]
        until(lambda: len(worker.inputs) == 2)
        assert caller.queue() == (3, 2)
        assert [request.status for request in requests] == ["IN_PROGRESS"] * 2 + ["QUEUED"] * 3
        assert caller.cancel(requests[0])["canceled"] is False
        worker.finish()
        until(lambda: len(worker.inputs) == 3)
        assert caller.queue() == (2, 2)
        worker.finish(4)
        until(lambda: all(request.status == "SUCCEEDED" for request in requests))
        assert caller.queue() == (0, 0)

    def test_sync_requests_come_first(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=1)
        caller.submit("async 1")
        until(lambda: worker.inputs == ["async 1"])
        caller.submit("async 2")
        with ThreadPoolExecutor(2) as pool:
            replicas = caller.baseten.models["m"].deployments["md1"].replicas
            first = pool.submit(caller.predict, "sync 1")
            until(lambda: replicas.parked == 1)
            second = pool.submit(caller.predict, "sync 2")
            until(lambda: replicas.parked == 2)
            worker.finish(4)
            assert {first.result(), second.result()} == {"sync 1", "sync 2"}
        until(lambda: len(worker.inputs) == 4)
        assert worker.inputs == ["async 1", "sync 1", "sync 2", "async 2"]

    def test_a_new_replica_is_for_the_sync_request_that_started_it(
        self, serve: Callable[..., Caller], worker: Worker
    ) -> None:
        caller = serve(worker.predict, concurrency_target=1, max_replica=2)
        caller.submit("async 1")
        until(lambda: worker.inputs == ["async 1"])
        caller.submit("async 2")
        with ThreadPoolExecutor(1) as pool:
            sync = pool.submit(caller.predict, "sync")
            until(lambda: worker.inputs == ["async 1", "sync"])
            assert caller.queue() == (1, 1)
            worker.finish(3)
            assert sync.result() == "sync"

    def test_a_sync_request_holds_the_place(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=1)
        with ThreadPoolExecutor(1) as pool:
            sync = pool.submit(caller.predict, "sync")
            until(lambda: worker.inputs == ["sync"])
            request = caller.submit("async")
            assert caller.queue() == (1, 0)
            worker.finish(2)
            assert sync.result() == "sync"
        until(lambda: request.status == "SUCCEEDED")

    def test_thousands_that_wait(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=1)
        caller.baseten.hold()
        requests = [caller.submit(number, priority=number % 3) for number in range(500)]
        worker.finish(500)
        caller.baseten.release()
        until(lambda: all(request.settled_at is not None for request in requests))
        assert worker.inputs == sorted(range(500), key=lambda number: (number % 3, number))


class TestScaling:
    def test_a_request_starts_a_replica(self, serve: Callable[..., Caller], clock: ManualClock, worker: Worker) -> None:
        caller = serve(worker.predict, min_replica=0, max_replica=3, cold_start=30)
        deployment = caller.baseten.models["m"].deployments["md1"]
        request = caller.submit({})
        caller.submit({})
        assert (deployment.replicas.starting, request.status) == (1, "QUEUED")
        passes(clock, 30)
        until(lambda: request.status == "IN_PROGRESS")
        worker.finish(2)
        until(lambda: deployment.replicas.in_flight == 0)
        passes(clock, 900)
        assert deployment.status == "SCALED_TO_ZERO"

    def test_a_held_queue_starts_none(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, min_replica=0)
        caller.baseten.hold()
        request = caller.submit({})
        assert caller.baseten.models["m"].deployments["md1"].status == "SCALED_TO_ZERO"
        worker.finish()
        caller.baseten.release()
        until(lambda: request.status == "SUCCEEDED")

    def test_reject_on_full_is_for_sync_requests(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, concurrency_target=1, policy="REJECT_ON_FULL")
        requests = [caller.submit(number) for number in range(2)]
        worker.finish(2)
        until(lambda: all(request.status == "SUCCEEDED" for request in requests))

    def test_a_deactivated_deployment_keeps_its_queue(self, serve: Callable[..., Caller], worker: Worker) -> None:
        caller = serve(worker.predict, min_replica=0)
        caller.baseten.hold()
        request = caller.submit({})
        caller.baseten.deactivate("m")
        caller.baseten.release()
        assert caller.queue() == (1, 0)
        worker.finish()
        caller.baseten.activate("m")
        until(lambda: request.status == "SUCCEEDED")


class TestExpiry:
    def test_what_has_not_started_expires(
        self, serve: Callable[..., Caller], clock: ManualClock, server: Server
    ) -> None:
        caller = serve(server.app)
        caller.baseten.hold()
        request = caller.submit({}, max_time_in_queue_seconds=10, webhook_endpoint="https://example.com")
        patient = caller.submit({}, max_time_in_queue_seconds=11)
        passes(clock, 9)
        assert caller.status(request)["status"] == "QUEUED"
        passes(clock, 1)
        status = caller.status(request)
        assert (status["status"], status["webhook_status"]) == ("EXPIRED", "CANCELED")
        assert status["status_at"] == "1970-01-01T00:00:10.000000Z"
        assert caller.queue() == (1, 0)
        caller.baseten.release()
        until(lambda: patient.status == "SUCCEEDED")
        assert (request.status, request.model_runs, request.webhook_attempts) == ("EXPIRED", 0, [])

    def test_what_has_started_does_not(self, serve: Callable[..., Caller], clock: ManualClock, worker: Worker) -> None:
        caller = serve(worker.predict)
        request = caller.submit({}, max_time_in_queue_seconds=10)
        until(lambda: worker.inputs)
        passes(clock, 3000)
        assert request.status == "IN_PROGRESS"
        worker.finish()
        until(lambda: request.status == "SUCCEEDED")

    def test_what_is_cancelled_does_not(self, serve: Callable[..., Caller], clock: ManualClock) -> None:
        caller = serve(lambda _: 1)
        caller.baseten.hold()
        request = caller.submit({})
        caller.cancel(request)
        passes(clock, 600)
        assert request.status == "CANCELED"


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "code", "runs"),
        [
            (400, "MODEL_NOT_READY", 3),
            (404, "MODEL_DOES_NOT_EXIST", 1),
            (422, "MODEL_INVALID_INPUT", 1),
            (500, "MODEL_PREDICT_ERROR", 3),
            (502, "MODEL_UNAVAILABLE", 3),
            (503, "MODEL_UNAVAILABLE", 3),
            (504, "MODEL_PREDICT_TIMEOUT", 3),
            (418, "MODEL_PREDICT_ERROR", 1),
            (302, "MODEL_PREDICT_ERROR", 1),
        ],
    )
    def test_what_the_model_answers(
        self, serve: Callable[..., Caller], server: Server, status: int, code: str, runs: int
    ) -> None:
        caller = serve(server.app)
        server.statuses = [status] * 10
        request = caller.run({}, inference_retry_config={"initial_delay_ms": 0})
        assert caller.status(request)["errors"] == [
            {"code": code, "message": f"The model responded with status {status}: reason"}
        ]
        assert (request.status, request.model_runs, len(server.asked_at)) == ("FAILED", runs, runs)

    @pytest.mark.parametrize(
        ("retries", "asked_at"),
        [
            ({}, [0, 1, 3]),
            ({"max_attempts": 5}, [0, 1, 3, 7, 12]),
            ({"max_attempts": 4, "initial_delay_ms": 3000, "max_delay_ms": 7000}, [0, 3, 9, 16]),
            ({"max_attempts": 3, "initial_delay_ms": 9000, "max_delay_ms": 500}, [0, 0.5, 1]),
            ({"max_attempts": 1}, [0]),
        ],
    )
    def test_the_wait_doubles(
        self,
        serve: Callable[..., Caller],
        clock: ManualClock,
        server: Server,
        retries: dict[str, int],
        asked_at: list[float],
    ) -> None:
        caller = serve(server.app)
        server.statuses = [500] * 10
        request = caller.submit({}, inference_retry_config=retries)
        replicas = caller.baseten.models["m"].deployments["md1"].replicas
        for number, at in enumerate(asked_at):
            until(lambda: len(server.asked_at) == number + 1)  # noqa: B023
            until(lambda: request.failures == number + 1 and replicas.in_flight == 0)  # noqa: B023
            assert (request.status == "IN_PROGRESS") is (number + 1 < len(asked_at))
            if number + 1 < len(asked_at):
                passes(clock, asked_at[number + 1] - at)
        assert server.asked_at == asked_at
        assert request.status == "FAILED"

    def test_success_after_a_failure(self, serve: Callable[..., Caller], server: Server) -> None:
        caller = serve(server.app)
        server.statuses = [503]
        request = caller.run({}, inference_retry_config={"initial_delay_ms": 0})
        assert (request.status, request.errors, request.model_runs) == ("SUCCEEDED", (), 2)

    def test_one_that_waits_for_its_next_attempt_leaves_its_place(
        self, serve: Callable[..., Caller], clock: ManualClock, server: Server
    ) -> None:
        caller = serve(server.app, concurrency_target=1)
        server.statuses = [500]
        request = caller.submit("first")
        until(lambda: request.failures == 1)
        assert caller.run("second").status == "SUCCEEDED"
        assert caller.cancel(request)["canceled"] is False
        assert (request.status, caller.queue()) == ("IN_PROGRESS", (0, 1))
        passes(clock, 1)
        until(lambda: request.status == "SUCCEEDED")

    def test_a_model_that_is_busy(self, serve: Callable[..., Caller], clock: ManualClock, server: Server) -> None:
        caller = serve(server.app, concurrency_target=1)
        server.statuses = [429, 429]
        request = caller.submit({}, inference_retry_config={"max_attempts": 1})
        until(lambda: request.model_runs == 1 and request.status == "QUEUED")
        other = caller.submit({})
        assert caller.queue() == (2, 0)
        passes(clock, 1)
        until(lambda: request.model_runs == 2 and request.status == "QUEUED")
        assert other.status == "QUEUED"
        passes(clock, 2)
        until(lambda: request.status == other.status == "SUCCEEDED")
        assert server.asked_at == [0, 1, 3, 3]
        assert (request.model_runs, request.failures, other.model_runs) == (3, 0, 1)

    def test_a_model_that_is_busy_for_too_long(
        self, serve: Callable[..., Caller], clock: ManualClock, server: Server
    ) -> None:
        caller = serve(server.app)
        server.statuses = [429] * 10
        request = caller.submit({}, max_time_in_queue_seconds=10)
        for runs, delay in enumerate([1, 2, 4, 3], start=1):
            until(lambda: request.model_runs == runs and request.status == "QUEUED")  # noqa: B023
            passes(clock, delay)
        assert (request.status, caller.queue()) == ("EXPIRED", (0, 0))

    def test_a_model_that_takes_too_long(
        self, serve: Callable[..., Caller], clock: ManualClock, worker: Worker
    ) -> None:
        caller = serve(worker.predict)
        request = caller.submit({}, inference_retry_config={"max_attempts": 1})
        until(lambda: worker.inputs)
        passes(clock, 3599)
        assert request.status == "IN_PROGRESS"
        passes(clock, 1)
        until(lambda: request.status == "FAILED")
        assert [error.code for error in request.errors] == ["MODEL_PREDICT_TIMEOUT"]

    def test_a_server_that_fails(self, serve: Callable[..., Caller]) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("broken")

        request = serve(broken).run({}, inference_retry_config={"initial_delay_ms": 0})
        assert [error.code for error in request.errors] == ["INTERNAL_SERVER_ERROR"]
        assert request.model_runs == 3

    def test_a_server_that_is_not_there(self, serve: Callable[..., Caller]) -> None:
        caller = serve(Upstream("http://127.0.0.1:1"))
        request = caller.run({}, inference_retry_config={"max_attempts": 1})
        assert [error.code for error in request.errors] == ["MODEL_UNAVAILABLE"]

    def test_an_exception_of_the_model(self, serve: Callable[..., Caller]) -> None:
        def predict(model_input: Any) -> Any:
            raise ValueError("secret")

        request = serve(predict).run({}, inference_retry_config={"max_attempts": 1})
        (error,) = request.errors
        assert error.code == "MODEL_PREDICT_ERROR"
        assert "secret" not in error.message


class TestInterpretResponse:
    @pytest.mark.parametrize(
        ("content_type", "content", "data"),
        [
            ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
            ("application/json; charset=utf-8", '"é"'.encode(), "é"),
            ("application/problem+json", b"{}", {}),
            ("", b"6", 6),
            ("", b"", None),
            ("text/plain; charset=utf-8", b"6", "6"),
        ],
    )
    def test_output(self, content_type: str, content: bytes, data: Any) -> None:
        result = interpret_response(200, content_type, content)
        assert (result.data, result.error, result.is_retryable) == (data, None, False)

    @pytest.mark.parametrize(
        ("content_type", "content"),
        [
            ("application/octet-stream", b"6"),
            ("text/event-stream", b"data: 1\n\n"),
            ("image/png", b"\x89PNG"),
            ("application/json", b"{"),
        ],
    )
    def test_what_can_not_be_delivered(self, content_type: str, content: bytes) -> None:
        result = interpret_response(200, content_type, content)
        assert result.error is not None
        assert (result.error.code, result.is_retryable) == ("ASYNC_REQUEST_NOT_SUPPORTED", False)

    def test_a_long_reason_is_cut(self) -> None:
        result = interpret_response(500, "text/plain", b"\xff" * 10_000)
        assert result.error is not None
        assert len(result.error.message) < 400


class TestModels:
    def test_the_model_sees_the_request_id(self, serve: Callable[..., Caller]) -> None:
        """So that it can store its output under that name."""
        seen: list[tuple[Any, str | None]] = []

        def predict(model_input: Any, request: Request) -> None:
            seen.append((model_input, request.headers.get("x-baseten-request-id")))

        request = serve(predict).run({"a": 1})
        assert seen == [({"a": 1}, request.request_id)]

    def test_a_stream(self, serve: Callable[..., Caller]) -> None:
        def predict(model_input: Any) -> Iterator[str]:
            yield "1"

        request = serve(predict).run({})
        assert [error.code for error in request.errors] == ["ASYNC_REQUEST_NOT_SUPPORTED"]
        assert request.model_runs == 1


class TestStop:
    def test_with_work_of_every_kind(self, clock: ManualClock, worker: Worker, server: Server) -> None:
        models = {"m": Model(worker.predict, scaling=Scaling(concurrency_target=1)), "s": Model(server.app)}
        baseten = Emulator(models, clock=clock)
        server.statuses = [500, 200, 429]
        with baseten, receiving() as receiver:
            receiver.open.clear()
            caller, other = Caller(baseten), Caller(baseten, "model-s")
            running, queued = caller.submit("running"), caller.submit("queued")
            until(lambda: worker.inputs == ["running"])
            retried = other.submit()
            until(lambda: retried.failures == 1)
            delivered = other.submit(webhook_endpoint=receiver.url)
            until(lambda: receiver.deliveries)
            refused = other.submit()
            until(lambda: refused.model_runs == 1 and refused.status == "QUEUED")
            baseten.stop()
        assert (retried.status, delivered.webhook_status) == ("IN_PROGRESS", "PENDING")
        worker.finish(2)
        with baseten:
            caller = Caller(baseten)
            assert caller.queue() == (0, 0)
            assert (running.status, queued.status) == ("IN_PROGRESS", "QUEUED")
            assert caller.cancel(queued)["canceled"] is False
            assert caller.run("again").status == "SUCCEEDED"
            passes(clock, 3600)
            assert Caller(baseten, "model-s").run().status == "SUCCEEDED"
        assert worker.inputs == ["running", "again"]
        assert len(server.asked_at) == 4
