"""What an observer of a client sees, what it may add, and that it breaks nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.client import AsyncClient, Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.observer import CallCounts, CallObserver, Observer
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.faults import Fault
from airflow_provider_baseten.exceptions import BasetenModelError, BasetenRateLimitError
from airflow_provider_baseten.idempotency.ledger import fingerprint_request
from tests.chat_server import ChatServer
from tools.airflow_api import wait_until

API_KEY = "right.key-of-the-tests"
TARGET = Target(model_id="echo")


def broken(model_input: Any) -> Any:
    raise RuntimeError("broken")


@pytest.fixture(scope="module")
def module_emulator():
    models = {"echo": lambda model_input: model_input, "broken": broken, "chat": ChatServer(lambda body: "well")}
    with Emulator(models=models, api_key=API_KEY) as emulator:
        yield emulator


@pytest.fixture
def emulator(module_emulator):
    module_emulator.faults.clear()
    return module_emulator


class Recorder(Observer):
    """Notes everything, and adds a header."""

    def __init__(self, added: Any = None) -> None:
        self.events: list[Any] = []
        self.added = {"traceparent": "00-ab-cd-01"} if added is None else added

    def begin_call(self, request: Request, url: str) -> CallObserver:
        self.events.append(("begin", request.path.rpartition("/")[2], url.rpartition("/")[2]))
        return RecordedCall(self)

    def headers(self) -> Any:
        return self.added

    def count_calls(self, request: Request, counts: CallCounts) -> None:
        self.events.append(counts)


class RecordedCall(CallObserver):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def headers(self) -> Any:
        return self.recorder.added

    def end_attempt(self, seconds: float, error: BaseException | None) -> None:
        assert 0 <= seconds < 60
        self.recorder.events.append(("attempt", type(error)))

    def end(self, response: Any, error: BaseException | None) -> None:
        self.recorder.events.append(("end", response and response.status, type(error)))


class Faulty(Observer):
    """Raises an error wherever it can."""

    def begin_call(self, request: Request, url: str) -> Any:
        return 1 / 0

    def headers(self) -> Any:
        return 1 / 0

    def count_calls(self, request: Request, counts: CallCounts) -> Any:
        return 1 / 0


class FaultyCalls(Observer):
    """Returns observers of calls that raise an error wherever they can."""

    def begin_call(self, request: Request, url: str) -> Any:
        class Call:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                return lambda *arguments: 1 / 0

        return Call()

    def headers(self) -> Any:
        return {"a name": object()}


def blocking(emulator: Emulator, observer: Observer, call: Callable[[Any], Any]) -> Any:
    with Client(credentials(emulator), observer=observer) as client:
        return call(client)


def in_event_loop(emulator: Emulator, observer: Observer, call: Callable[[Any], Any]) -> Any:
    async def run() -> Any:
        async with AsyncClient(credentials(emulator), observer=observer) as client:
            return await call(client)

    return asyncio.run(run())


def credentials(emulator: Emulator) -> Credentials:
    return Credentials(api_key=API_KEY, base_url=emulator.url, request_retries=RequestRetries(initial=0.01))


both_clients = pytest.mark.parametrize("run", [blocking, in_event_loop], ids=["blocking", "async"])
faulty_observers = pytest.mark.parametrize("observer", [Faulty(), FaultyCalls()], ids=["observer", "call"])
NO_ERROR = type(None)


@both_clients
def test_it_sees_a_call_with_its_attempts(run, emulator):
    observer = Recorder()
    emulator.inject(Fault(target="echo", status=429, times=2))
    assert run(emulator, observer, lambda client: client.predict(TARGET, 1)) == 1
    assert observer.events == [
        ("begin", "predict", "predict"),
        ("attempt", BasetenRateLimitError),
        ("attempt", BasetenRateLimitError),
        ("attempt", NO_ERROR),
        ("end", 200, NO_ERROR),
    ]


@both_clients
def test_it_sees_the_error_of_a_call(run, emulator):
    observer = Recorder()
    with pytest.raises(BasetenModelError):
        run(emulator, observer, lambda client: client.predict(Target(model_id="broken"), 1))
    assert observer.events[1:] == [("attempt", BasetenModelError), ("end", None, BasetenModelError)]


def test_it_sees_that_a_call_is_cancelled(emulator):
    observer = Recorder()
    emulator.inject(Fault(target="echo", delay=30))

    async def run() -> None:
        async with AsyncClient(credentials(emulator), observer=observer) as client:
            call = asyncio.create_task(client.predict(TARGET, 1))
            is_sent = lambda: any(request.status is None for request in emulator.requests)  # noqa: E731
            await asyncio.to_thread(wait_until, is_sent, 30, "the request to be sent", 0.01)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    asyncio.run(run())
    assert observer.events[1:] == [("attempt", asyncio.CancelledError), ("end", None, asyncio.CancelledError)]


@both_clients
def test_its_headers_are_sent_with_each_attempt(run, emulator):
    emulator.inject(Fault(target="echo", status=429))
    run(emulator, Recorder(), lambda client: client.predict(TARGET, 1))
    assert [request.headers["traceparent"] for request in emulator.requests[-2:]] == ["00-ab-cd-01"] * 2


@both_clients
def test_a_header_of_the_caller_wins(run, emulator):
    observer = Recorder({"traceparent": "ours", "tracestate": "ours"})
    run(emulator, observer, lambda client: client.predict(TARGET, 1, headers={"TraceParent": "theirs"}))
    headers = emulator.requests[-1].headers
    assert (headers["traceparent"], headers.get("tracestate")) == ("theirs", None)


@both_clients
@faulty_observers
def test_a_faulty_observer_breaks_no_call(run, observer, emulator):
    assert run(emulator, observer, lambda client: client.predict(TARGET, 1)) == 1


@both_clients
def test_a_client_with_other_options_has_the_same_observer(run, emulator):
    def other(client: Any) -> Any:
        return client.with_options(timeout=30).predict(TARGET, 1)

    observer = Recorder()
    run(emulator, observer, other)
    assert ("end", 200, NO_ERROR) in observer.events


@both_clients
def test_a_client_has_no_observer_by_default(run, emulator):
    assert type(Client(credentials(emulator)).observer) is Observer
    run(emulator, None, lambda client: client.predict(TARGET, 1))
    assert "traceparent" not in emulator.requests[-1].headers


def test_its_headers_do_not_change_what_a_request_is_recognized_by(emulator, monkeypatch):
    from airflow_provider_baseten.client import transport

    sent = []
    original = transport.Transport._attempt
    monkeypatch.setattr(
        transport.Transport,
        "_attempt",
        lambda self, request, *rest: sent.append(request) or original(self, request, *rest),
    )
    with Client(credentials(emulator), observer=Recorder()) as client:
        response = client.send(request := client_request())
    assert "traceparent" in sent[0].headers
    assert fingerprint_request(request) == fingerprint_request(client_request())
    assert fingerprint_request(response.request) == fingerprint_request(request)


def client_request() -> Request:
    from airflow_provider_baseten.api.predict import build_predict

    return build_predict(TARGET, {"a": 1})


class TestBulk:
    def run(self, emulator, observer, folder, model="echo", **options):
        job = BatchJob(
            target=Target(model_id=model), inputs=[{"n": n} for n in range(20)], output_path=folder, **options
        )
        return run_batch(job, client=Client(credentials(emulator), observer=observer))

    def test_its_calls_are_counted_in_sums(self, emulator, tmp_path):
        emulator.inject(Fault(target="echo", status=429, times=3))
        observer = Recorder()
        self.run(emulator, observer, tmp_path, request_retries=RequestRetries(initial=0.01))
        (counts,) = observer.events
        assert (counts.succeeded, counts.errors, counts.retries, counts.responses) == (20, {}, 3, 20)
        assert counts.response_seconds > 0

    def test_errors_are_counted_by_their_class(self, emulator, tmp_path):
        observer = Recorder()
        self.run(emulator, observer, tmp_path, model="broken")
        (counts,) = observer.events
        assert (counts.succeeded, counts.errors, counts.responses) == (0, {BasetenModelError: 20}, 20)

    def test_all_its_requests_have_the_same_header(self, emulator, tmp_path):
        before = len(emulator.requests)
        self.run(emulator, Recorder(), tmp_path)
        assert {request.headers.get("traceparent") for request in emulator.requests[before:]} == {"00-ab-cd-01"}

    @faulty_observers
    def test_a_faulty_observer_breaks_no_run(self, observer, emulator, tmp_path):
        assert self.run(emulator, observer, tmp_path).succeeded == 20


class TestOpenaiSdk:
    @pytest.mark.parametrize("observer", [Recorder(), Faulty()], ids=["sound", "faulty"])
    @both_clients
    def test_its_requests_have_the_header(self, run, observer, emulator):
        messages = [{"role": "user", "content": "hi"}]

        def ask(client: Any) -> Any:
            return client.openai(Target(model_id="chat")).chat.completions.create(model="m", messages=messages)

        assert run(emulator, observer, ask).choices[0].message.content == "well"
        expected = "00-ab-cd-01" if isinstance(observer, Recorder) else None
        assert emulator.requests[-1].headers.get("traceparent") == expected

    @both_clients
    def test_a_header_of_the_caller_wins(self, run, emulator):
        messages = [{"role": "user", "content": "hi"}]

        def ask(client: Any) -> Any:
            completions = client.openai(Target(model_id="chat")).chat.completions
            return completions.create(model="m", messages=messages, extra_headers={"traceparent": "theirs"})

        run(emulator, Recorder(), ask)
        assert emulator.requests[-1].headers["traceparent"] == "theirs"


def test_model_apis_are_observed_too(emulator):
    observer = Recorder()
    with Client(credentials(emulator), observer=observer) as client, pytest.raises(Exception, match="model"):
        client.sync_route(ModelApis(), "v1/chat/completions", method="POST", json={"model": "nothing"})
    assert observer.events[0] == ("begin", "completions", "completions")
