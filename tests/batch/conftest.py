"""A model that remembers what it was asked, and jobs for it."""

import json
import threading
from pathlib import Path

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.transport import RetryPolicy

KEY = "abcd1234.s3cr3t"
QUICK = RetryPolicy(max_attempts=3, initial=0.01, maximum=0.02)


class Model:
    """Echoes its input, and fails on what ``broken`` says."""

    def __init__(self):
        self.seen = []
        self.broken = lambda model_input: False
        self.lock = threading.Lock()

    def __call__(self, model_input):
        with self.lock:
            self.seen.append(model_input)
        if self.broken(model_input):
            raise ValueError("this row is broken")
        return {"echo": model_input}


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def baseten(model):
    with Emulator(models={"echo": model}, chains={"chain": model}, api_key=KEY) as emulator:
        yield emulator


@pytest.fixture
def run(baseten, tmp_path):
    """Run a job for the model, by default with an output folder of the test."""

    def run(stop=None, on_progress=None, api_key=KEY, **arguments):
        arguments = {
            "target": Target(model_id="echo", base_url=baseten.url),
            "output_path": str(tmp_path / "out"),
            "max_concurrency": 8,
            "retry_policy": QUICK,
            **arguments,
        }
        return run_batch(BatchJob(**arguments), api_key=api_key, stop=stop, on_progress=on_progress)

    return run


@pytest.fixture
def send(run):
    """Run a job one request after the other; return the bodies as they were sent, and the manifest."""

    def send(**arguments):
        bodies = []

        async def app(scope, receive, send):
            if scope["type"] != "http":
                raise NotImplementedError
            bodies.append(await whole_body(receive))
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"ok":1}'})

        with Emulator(models={"raw": app}, api_key=KEY) as emulator:
            target = Target(model_id="raw", base_url=emulator.url)
            manifest = run(**{"target": target, "max_concurrency": 1} | arguments)
        return [body.decode() for body in bodies], manifest

    return send


async def whole_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def errors_of(manifest):
    """Return the messages of the failed rows by row number."""
    return {number: line["error"]["message"] for number, line in lines_of(*manifest.failed_parts).items()}


def lines_of(*uris):
    """Return the lines of JSONL files, by row number; each row must be there once."""
    lines = [json.loads(line) for uri in uris for line in Path(uri.removeprefix("file://")).read_text().splitlines()]
    numbers = [line["row"] for line in lines]
    assert len(numbers) == len(set(numbers))
    return {line["row"]: line for line in lines}


def outputs_of(manifest):
    return {number: line["output"] for number, line in lines_of(*manifest.parts).items()}


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)
