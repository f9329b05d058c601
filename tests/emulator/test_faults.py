"""Faults that tests inject."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from management_support import until

from airflow_provider_baseten.emulator import Emulator, Fault, ManualClock


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def predict(self, model_input: Any) -> Any:
        self.calls += 1
        return "x" * 100


def stream(model_input: Any) -> Iterator[str]:
    for _ in range(10):
        yield "x" * 10


@pytest.fixture
def model() -> Counter:
    return Counter()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def baseten(model: Counter, clock: ManualClock) -> Iterator[Emulator]:
    with Emulator({"m": model.predict, "s": stream}, {"c": lambda _: 6}, clock=clock) as baseten:
        yield baseten


def post(baseten: Emulator, path: str = "/model-m/production/predict") -> httpx.Response:
    return httpx.post(baseten.url + path, json={}, timeout=10)


def test_status_without_running_the_model(baseten: Emulator, model: Counter) -> None:
    baseten.inject(Fault(status=429, body={"error": "slow down", "retry_after": 2}, headers={"Retry-After": "2"}))
    answer = post(baseten)
    assert (answer.status_code, answer.json()["retry_after"], answer.headers["retry-after"]) == (429, 2, "2")
    assert answer.headers["x-baseten-request-id"] == baseten.requests[0].request_id
    assert (model.calls, baseten.faults.pending) == (0, [])
    assert post(baseten).status_code == 200


@pytest.mark.parametrize(
    ("body", "content", "content_type"),
    [
        (None, b'{"error": "Injected fault"}', "application/json"),
        (["any"], b'["any"]', "application/json"),
        ("<html>", b"<html>", "text/plain; charset=utf-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
def test_bodies(baseten: Emulator, body: Any, content: bytes, content_type: str) -> None:
    baseten.inject(Fault(status=503, body=body))
    answer = post(baseten)
    assert (answer.content, answer.headers["content-type"]) == (content, content_type)


def test_own_content_type(baseten: Emulator) -> None:
    baseten.inject(Fault(status=502, body="<html>", headers={"Content-Type": "text/html"}))
    assert post(baseten).headers.get_list("content-type") == ["text/html"]


def test_body_that_quotes_the_input(baseten: Emulator) -> None:
    baseten.inject(Fault(status=422, body=lambda sent: {"error": f"bad input {sent.decode()}"}))
    answer = httpx.post(f"{baseten.url}/model-m/production/predict", json={"text": "private"})
    assert (answer.status_code, answer.json()) == (422, {"error": 'bad input {"text":"private"}'})


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("<html>Sign in</html>", "text/html"), (b'{"a": ', "application/json"), (b"", "application/json")],
    ids=["page", "cut JSON", "empty"],
)
def test_success_that_is_none(baseten: Emulator, model: Counter, body: Any, content_type: str) -> None:
    baseten.inject(Fault(status=200, body=body, headers={"Content-Type": content_type}, after_model=True))
    answer = post(baseten)
    assert (answer.status_code, answer.text) == (200, body if isinstance(body, str) else body.decode())
    assert (answer.headers["content-type"], model.calls) == (content_type, 1)


def test_header_beyond_ascii(baseten: Emulator) -> None:
    baseten.inject(Fault(status=503, headers={"X-Name": "caf\u00e9"}))
    name = dict(post(baseten).headers.raw)[b"x-name"]
    assert name == "caf\u00e9".encode()


@pytest.mark.parametrize("status", [100, 102, 103])
@pytest.mark.parametrize("fault", [{}, {"status": 503}], ids=["answer", "refusal"])
def test_interim_answer(baseten: Emulator, status: int, fault: dict[str, Any]) -> None:
    baseten.inject(Fault(interim_status=status, **fault))
    with socket.create_connection(("127.0.0.1", httpx.URL(baseten.url).port or 0), timeout=10) as connection:
        head = (
            "POST /model-m/production/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        )
        connection.sendall(head.encode())
        lines = connection.makefile("rb").read().splitlines()
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert lines[lines.index(b"") + 1].startswith(b"HTTP/1.1 %d " % fault.get("status", 200))
    assert post(baseten).status_code == 200


def test_what_is_no_interim_status() -> None:
    with pytest.raises(ValueError, match="100, 102 or 103"):
        Fault(interim_status=200)


def test_in_order_and_counted(baseten: Emulator, model: Counter) -> None:
    baseten.inject(Fault(status=503, times=2), Fault(status=529))
    assert [post(baseten).status_code for _ in range(4)] == [503, 503, 529, 200]
    assert model.calls == 1


def test_for_ever_until_cleared(baseten: Emulator) -> None:
    baseten.inject(Fault(status=500, times=None))
    assert [post(baseten).status_code for _ in range(3)] == [500, 500, 500]
    baseten.faults.clear()
    assert post(baseten).status_code == 200


def test_only_what_matches(baseten: Emulator) -> None:
    baseten.inject(
        Fault(target="c", status=500), Fault(action="wake", status=501), Fault(action="users/me", status=502)
    )
    assert post(baseten).status_code == 200
    assert post(baseten, "/model-m/production/wake").status_code == 501
    assert post(baseten, "/chain-c/production/run_remote").status_code == 500
    assert httpx.get(f"{baseten.url}/v1/users/me").status_code == 502
    assert baseten.faults.pending == []


def test_after_the_model_ran(baseten: Emulator, model: Counter) -> None:
    baseten.inject(Fault(status=502, after_model=True))
    answer = post(baseten)
    assert (answer.status_code, answer.json(), model.calls) == (502, {"error": "Injected fault"}, 1)
    assert baseten.requests[0].status == 502


@pytest.mark.parametrize("after_model", [False, True])
def test_reset(baseten: Emulator, model: Counter, after_model: bool) -> None:
    baseten.inject(Fault(reset=True, after_model=after_model))
    with pytest.raises(httpx.ReadError, match="reset"):
        post(baseten)
    assert model.calls == int(after_model)
    assert post(baseten).status_code == 200


@pytest.mark.parametrize("path", ["/model-m/production/predict", "/model-s/production/predict"])
@pytest.mark.parametrize("size", [0, 10, 99])
def test_truncated(baseten: Emulator, path: str, size: int) -> None:
    baseten.inject(Fault(truncate_after=size))
    received: list[bytes] = []
    with httpx.stream("POST", baseten.url + path, json={}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_raw(1))
    assert len(received) == size
    assert post(baseten, path).status_code == 200


def test_stream_that_ends_before_the_limit_is_still_incomplete(baseten: Emulator) -> None:
    baseten.inject(Fault(truncate_after=1000))
    with pytest.raises(httpx.RemoteProtocolError):
        post(baseten, "/model-s/production/predict")


def test_delay(baseten: Emulator, clock: ManualClock, model: Counter) -> None:
    baseten.inject(Fault(delay=100))
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(post(baseten)))
    caller.start()
    while not baseten.requests or baseten.faults.pending:
        time.sleep(0.005)
    post(baseten)  # It is not delayed, and it comes back after the first one began to wait.
    assert (model.calls, answers) == (1, [])
    clock.advance(100)
    caller.join(10)
    assert (model.calls, answers[0].status_code) == (2, 200)


def test_client_that_leaves_during_a_delay(baseten: Emulator, model: Counter) -> None:
    baseten.inject(Fault(delay=100))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{baseten.url}/model-m/production/predict", json={}, timeout=httpx.Timeout(10, read=0.2))
    deadline = time.monotonic() + 10
    while baseten.requests[0].status is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert (baseten.requests[0].status, model.calls) == (499, 0)


def test_injected_while_requests_run(baseten: Emulator) -> None:
    """Every fault happens exactly once, whoever injects it and whoever is hit."""
    injectors = [threading.Thread(target=baseten.inject, args=(Fault(status=503),)) for _ in range(20)]
    statuses: list[int] = []
    callers = [threading.Thread(target=lambda: statuses.append(post(baseten).status_code)) for _ in range(20)]
    for thread in (*injectors, *callers):
        thread.start()
    for thread in (*injectors, *callers):
        thread.join()
    while baseten.faults.pending:
        statuses.append(post(baseten).status_code)
    assert statuses.count(503) == 20


@pytest.mark.parametrize("options", [{"after_model": True}, {"after_model": True, "delay": 1.0}])
def test_a_fault_without_an_effect(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="status or reset"):
        Fault(**options)


def test_management_call_is_carried_out_although_its_client_has_left(baseten: Emulator, clock: ManualClock) -> None:
    baseten.inject(Fault(action="training_projects", method="POST", delay=60))
    url = f"{baseten.url}/v1/training_projects"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json={"training_project": {"name": "retrain"}}, timeout=0.5)

    def created() -> list[str]:
        return [project["name"] for project in httpx.get(url).json()["training_projects"]]

    # The server has noticed the disconnect when it responds to the next client.
    assert created() == []
    clock.advance(60)
    until(lambda: created() == ["retrain"])
