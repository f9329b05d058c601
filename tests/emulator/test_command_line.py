"""`python -m airflow_provider_baseten.emulator` as a process."""

import json
import os
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

from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.emulator.webhooks import sign

pytestmark = pytest.mark.processes

KEY = "local-emulator-key"
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
    with running("--truss", f"abc={truss}", "--chain", f"xyz={truss}", "--api-key", KEY) as (process, url, printed):
        assert printed[1:] == [
            f"{url}/model-abc/environments/production/predict",
            f"{url}/chain-xyz/environments/production/run_remote",
        ]
        for path in printed[1:]:
            assert httpx.post(path, json=[1]).status_code == 401
            assert httpx.post(path, json=[1], headers={"Authorization": f"Bearer {KEY}"}).json() == [1]
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


def test_an_error_of_the_model_says_where_its_traceback_is(tmp_path: Path) -> None:
    truss = write_truss(tmp_path, "def predict(self, model_input): raise KeyError('the-key-of-the-model')")
    with running("--truss", f"abc={truss}") as (process, _, printed):
        answer = httpx.post(printed[1], json={})
        error = "Internal Server Error (in model/chainlet). The emulator's terminal shows the traceback."
        assert (answer.status_code, answer.json()) == (500, {"error": error})
        hook_error = error_for(
            Response(
                request=build_predict(Target(model_id="abc"), {}),
                status=500,
                headers=answer.headers,
                body=answer.content,
            )
        )
        assert "The emulator's terminal shows the traceback. The model's own code raised this" in str(hook_error)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "the-key-of-the-model" in process.stderr.read()


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
    options += ["--cold-start", "abc=600", "--reject-on-full", "abc", "--invoke-api-key", KEY]
    with running(*options) as (_, url, _):
        headers = {"Authorization": f"Bearer {KEY}"}
        paths = ("environments/staging/predict", "environments/production/predict", "development/predict")
        for path in (*(f"model-abc/{path}" for path in paths), "model-abc-eu/predict"):
            assert httpx.post(f"{url}/{path}", json={}, headers=headers).status_code == 529
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403


def test_another_environment_stands_beside_production(truss: Path) -> None:
    with running("--truss", f"abc={truss}", "--environment", "abc=staging", "--environment", "abc=qa") as (_, url, _):
        for environment in ("production", "staging", "qa"):
            assert httpx.post(f"{url}/model-abc/environments/{environment}/predict", json=[1]).json() == [1]
        shown = httpx.get(f"{url}/v1/models/abc/deployments").json()["deployments"]
        model = httpx.get(f"{url}/v1/models/abc").json()
    assert [(one["id"], one["environment"], one["is_production"]) for one in shown] == [
        ("abcd1", "production", True),
        ("abcd2", "staging", False),
        ("abcd3", "qa", False),
    ]
    assert (model["production_deployment_id"], model["deployments_count"]) == ("abcd1", 3)


def test_environment_variables_of_a_truss_are_set(tmp_path: Path) -> None:
    truss = write_truss(
        tmp_path,
        "def load(self): import os; self.seen = os.environ['DESK']",
        "def predict(self, model_input): import os; return [self.seen, os.environ['DESK'], os.getenv('ANSWERS')]",
    )
    (truss / "config.yaml").write_text("environment_variables: {DESK: parcels, ANSWERS: 3}")
    with running("--truss", f"abc={truss}") as (_, _, printed):
        assert httpx.post(printed[1], json={}).json() == ["parcels", "parcels", "3"]


class TestWhatIsPrinted:
    """Lines to paste do what they say."""

    @staticmethod
    def lines(process: subprocess.Popen[str], number: int) -> list[str]:
        assert process.stdout is not None
        return [process.stdout.readline().strip() for _ in range(number)]

    @staticmethod
    def pasted(line: str, **variables: str) -> str:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=120, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @pytest.mark.parametrize("key", [KEY, "key-'quotes'-$HOME", None])
    def test_curl(self, truss: Path, key: str | None) -> None:
        keys = [] if key is None else ["--api-key", key]
        with running("--truss", f"abc={truss}", "--environment", "abc=staging", *keys) as (process, url, _):
            staging, _, curl, _, _ = self.lines(process, 5)
            assert staging == f"{url}/model-abc/environments/staging/predict"
            assert json.loads(self.pasted(curl)) == {"text": "Wo ist mein Paket?"}

    def test_curl_to_a_chain(self, truss: Path) -> None:
        with running("--chain", f"abc={truss}") as (process, _, _):
            assert json.loads(self.pasted(self.lines(process, 2)[1])) == {"text": "Wo ist mein Paket?"}

    def test_curl_to_model_apis(self, truss: Path) -> None:
        with (
            running("--truss", f"abc={truss}") as (_, behind, _),
            running("--model-api", f"o/x={behind}") as (it, _, _),
        ):
            assert "No such path: /v1/chat/completions" in self.pasted(self.lines(it, 3)[2])  # It got behind.

    @pytest.mark.parametrize("key", [KEY, None])
    def test_connection(self, truss: Path, tmp_path: Path, key: str | None) -> None:
        keys = [] if key is None else ["--api-key", key]
        home = tmp_path / "airflow"
        with running("--truss", f"abc={truss}", *keys) as (process, _, _):
            add = self.lines(process, 4)[-1]
            command = f"airflow db migrate >&2; {add} >&2; airflow connections test baseten_default"
            told = self.pasted(command, AIRFLOW_HOME=str(home), AIRFLOW__CORE__TEST_CONNECTION="Enabled")
        assert "Connection success!" in told


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
        (["--upstream", "abc=http://h", "--replicas", "xyz=2"], "--replicas: there is no model or chain xyz"),
        (["--upstream", "abc=http://h", "--replicas", "abc=0"], "The scaling of abc is not valid"),
        (["--upstream", "abc=http://h", "--replicas", "abc=many"], "'many' in 'abc=many' is not a number"),
        (
            ["--upstream", "abc=http://h", "--api-key", "K"],
            "The key of --api-key is not valid: use at least 8",
        ),
        (["--upstream", "abc=http://h", "--invoke-api-key", "1234567"], "The key of --invoke-api-key is not valid"),
        (["--upstream", "abc=http://h", "--api-key", ""], "The key of --api-key is not valid"),
        (["--upstream", "abc=http://h", "--api-key", "local emulator key"], "without spaces"),
        (["--upstream", "abc=http://h", "--api-key", "Schlüssel1"], "8 ASCII characters without spaces"),
        (["--upstream", "abc"], "'abc' does not have the form ID=URL"),
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
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_option() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=30, check=True)
    for option in ("--truss", "--upstream", "--chain", "--port", "--api-key", "--cold-start", "--replicas"):
        assert option in done.stdout
