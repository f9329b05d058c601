"""Starting and stopping: nothing is left behind, and nothing but the emulator is needed."""

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import pytest

from airflow_provider_baseten.emulator import Emulator, EmulatorError


def echo(model_input: Any) -> Any:
    return model_input


def port_of(baseten: Emulator) -> int:
    return int(baseten.url.rpartition(":")[2])


def test_nothing_is_left() -> None:
    before = set(threading.enumerate())
    with Emulator({"m": echo}) as baseten, httpx.Client() as client:
        port = port_of(baseten)
        assert client.post(f"{baseten.url}/model-m/production/predict", json=1).json() == 1
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_start_and_stop_again() -> None:
    baseten = Emulator({"m": echo})
    ports = []
    for _ in range(3):
        baseten.start()
        ports.append(port_of(baseten))
        assert httpx.post(f"{baseten.url}/model-m/production/predict", json=1).json() == 1
        baseten.stop()
        baseten.stop()
    assert len(set(ports)) == 1
    assert len(baseten.requests) == 3


def test_starting_twice() -> None:
    with Emulator({"m": echo}) as baseten, pytest.raises(EmulatorError, match="already running"):
        baseten.start()


def test_url_of_one_that_does_not_run() -> None:
    with pytest.raises(EmulatorError, match="is not running"):
        _ = Emulator({"m": echo}).url


def test_two_at_once() -> None:
    with Emulator({"m": lambda _: 1}) as one, Emulator({"m": lambda _: 2}) as two:
        answers = [httpx.post(f"{baseten.url}/model-m/production/predict", json={}).json() for baseten in (one, two)]
    assert answers == [1, 2]


def test_port_that_is_taken() -> None:
    with (
        Emulator({"m": echo}) as first,
        pytest.raises(EmulatorError, match=r"Cannot listen on .* \(Address already in use\)"),
    ):
        Emulator({"m": echo}, port=port_of(first)).start()


def test_one_model_that_fails_stops_the_others() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for event in ("startup", "shutdown"):
            await receive()
            events.append(event)
            await send({"type": f"lifespan.{event}.complete"})

    def wrong(a: Any, b: Any) -> None: ...

    before = set(threading.enumerate())
    with pytest.raises(EmulatorError, match="Model bad"):
        Emulator({"good": app, "bad": wrong}).start()
    assert events == ["startup", "shutdown"]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


def test_stopping_breaks_off_what_is_in_flight() -> None:
    began, end = threading.Event(), threading.Event()

    def model(model_input: Any) -> Any:
        began.set()
        end.wait(20)

    outcome: list[Exception] = []

    def call(url: str) -> None:
        try:
            httpx.post(url, json={}, timeout=20)
        except httpx.HTTPError as exc:
            outcome.append(exc)

    with Emulator({"m": model}) as baseten:
        caller = threading.Thread(target=call, args=(f"{baseten.url}/model-m/production/predict",))
        caller.start()
        assert began.wait(10)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3, "it waited for the model"
    caller.join(10)
    end.set()
    assert [type(exc) for exc in outcome] == [httpx.ReadError]


def test_how_many_requests_are_kept() -> None:
    with Emulator({"m": echo}, keep_requests=2) as baseten:
        for number in range(3):
            httpx.post(f"{baseten.url}/model-m/production/predict?{number}", json=1)
    assert [request.query for request in baseten.requests] == ["1", "2"]


def test_deployment_that_does_not_exist() -> None:
    baseten = Emulator({"m": echo})
    for arguments in (("nope",), ("m", "nope")):
        with pytest.raises(EmulatorError, match=r"no model or chain nope|has no deployment nope"):
            baseten.deactivate(*arguments)


def test_listens_on_this_machine_only() -> None:
    with Emulator({"m": echo}) as baseten:
        assert baseten.url.startswith("http://127.0.0.1:")


@pytest.mark.processes
def test_needs_neither_airflow_nor_the_client_side() -> None:
    """And imports msgpack only for a model that is sent binary."""
    code = """
import sys
from airflow_provider_baseten.emulator import Emulator
import httpx
with Emulator({"m": lambda x: x}) as baseten:
    assert httpx.post(baseten.url + "/model-m/production/predict", json=1).json() == 1
    names = {name for name in sys.modules if name.partition(".")[0] == "airflow_provider_baseten"}
    foreign = {name for name in names if not name.startswith("airflow_provider_baseten.emulator")}
    assert foreign == {"airflow_provider_baseten"}, foreign
    heavy = {"airflow", "requests", "pyreqwest", "msgpack", "numpy", "fastapi"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
