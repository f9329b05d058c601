"""`python -m airflow_provider_baseten.emulator` as a process."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from async_support import receiving, until

from airflow_provider_baseten.emulator.webhooks import sign

COMMAND = [sys.executable, "-m", "airflow_provider_baseten.emulator"]


@pytest.fixture
def truss(tmp_path: Path) -> Path:
    return write_truss(tmp_path, "def predict(self, model_input): return model_input")


def write_truss(root: Path, *methods: str) -> Path:
    (root / "model").mkdir()
    (root / "config.yaml").write_text("model_name: test")
    (root / "model" / "model.py").write_text("\n    ".join(["class Model:", *methods]))
    return root


@contextmanager
def running(*options: object) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The process, its URL, and what it printed."""
    command = [*COMMAND, *map(str, options), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", first)
            assert url, process.stderr.read() if process.stderr else ""
            paths = [process.stdout.readline().strip() for _ in options if _ in {"--truss", "--chain", "--upstream"}]
            yield process, url[0], [first, *paths]
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_stop(truss: Path, number: signal.Signals) -> None:
    with running("--truss", f"abc={truss}", "--chain", f"xyz={truss}", "--api-key", "K") as (process, url, printed):
        assert printed[1:] == [
            f"{url}/model-abc/environments/production/predict",
            f"{url}/chain-xyz/environments/production/run_remote",
        ]
        for path in printed[1:]:
            assert httpx.post(path, json=[1]).status_code == 401
            assert httpx.post(path, json=[1], headers={"Authorization": "Bearer K"}).json() == [1]
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_stops_although_a_model_hangs(tmp_path: Path) -> None:
    truss = write_truss(tmp_path, "def predict(self, model_input):", "    import time; time.sleep(600)")
    with running("--truss", f"abc={truss}") as (process, _, printed):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(printed[1], json={}, timeout=httpx.Timeout(10, read=0.5))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_webhooks_are_signed_with_every_secret(truss: Path) -> None:
    options = ["--truss", f"abc={truss}", "--webhook-secret", "whsec_new", "--webhook-secret", "whsec_old"]
    with receiving() as receiver, running(*options) as (_, url, _):
        body = {"model_input": [1], "webhook_endpoint": receiver.url}
        request_id = httpx.post(f"{url}/model-abc/production/async_predict", json=body).json()["request_id"]
        until(lambda: receiver.deliveries)
        (delivery,) = receiver.deliveries
        assert delivery.headers["x-baseten-request-id"] == request_id
        assert delivery.headers["x-baseten-signature"] == sign(delivery.body, ["whsec_new", "whsec_old"])


def test_options_of_a_model(truss: Path) -> None:
    options = ["--truss", f"abc={truss}", "--environment", "abc=staging", "--regional-environment", "abc=eu"]
    options += ["--cold-start", "abc=600", "--reject-on-full", "abc", "--invoke-api-key", "I"]
    with running(*options) as (_, url, printed):
        assert printed[1] == f"{url}/model-abc/environments/staging/predict"
        headers = {"Authorization": "Bearer I"}
        for path in ("model-abc/environments/staging/predict", "model-abc-eu/predict"):
            assert httpx.post(f"{url}/{path}", json={}, headers=headers).status_code == 529
        path = f"{url}/model-abc/environments/production/predict"
        assert httpx.post(path, json={}, headers=headers).status_code == 404
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403


def test_upstream(truss: Path) -> None:
    with running("--truss", f"abc={truss}") as (_, behind, _):
        upstream = ["--upstream", f"front={behind}", "--predict-path", "front=/model-abc/production/predict"]
        with running(*upstream) as (_, _, printed):
            assert httpx.post(printed[1], json={"n": 1}).json() == {"n": 1}


def test_model_apis(truss: Path) -> None:
    with running("--truss", f"abc={truss}") as (_, behind, _), running("--model-api", f"org/x={behind}") as (_, url, _):
        assert [model["id"] for model in httpx.get(f"{url}/inference/v1/models").json()["data"]] == ["org/x"]
        answer = httpx.post(f"{url}/inference/v1/chat/completions", json={"model": "org/x"})
        assert answer.json()["error"] == "No such path: /v1/chat/completions"  # It got behind.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "There is nothing to serve"),
        (["--truss", "abc=/no/such/dir"], "/no/such/dir is not a Truss directory"),
        (["--truss", "a-b=/no/such/dir"], "ids are letters and digits"),
        (["--upstream", "abc=nonsense"], "'nonsense' is not a URL"),
        (["--upstream", "abc=http://h", "--upstream", "abc=http://h"], "abc is given twice"),
        (["--upstream", "abc=http://h", "--replicas", "xyz=2"], "--replicas names xyz"),
        (["--upstream", "abc=http://h", "--replicas", "abc=0"], "abc can't be scaled so"),
        (["--upstream", "abc=http://h", "--replicas", "abc=many"], "'many' in 'abc=many' is not a number"),
        (["--upstream", "abc"], "'abc' is not of the form ID=URL"),
        (["--upstream", "abc=http://h", "--port", "x"], "invalid int value"),
    ],
)
def test_wrong_command_line(options: list[str], complaint: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_model_that_does_not_load(tmp_path: Path) -> None:
    truss = write_truss(tmp_path, "def load(self): raise OSError('no weights')", "def predict(self, x): pass")
    done = subprocess.run(
        [*COMMAND, "--truss", f"abc={truss}", "--port", "0"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Model abc could not be started: OSError: no weights")


def test_port_that_is_taken(truss: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*COMMAND, "--truss", f"abc={truss}", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} can't be listened on" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_option() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=30, check=True)
    for option in ("--truss", "--upstream", "--chain", "--port", "--api-key", "--cold-start", "--replicas"):
        assert option in done.stdout
