"""A model that remembers what it was asked, and jobs for it."""

import json
import threading
from pathlib import Path

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.engine import run_batch
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import DEFAULT_MAX_RESPONSE_BYTES, Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator

KEY = "abcd1234.s3cr3t"
QUICK = RequestRetries(max_attempts=3, initial=0.01, maximum=0.02)


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


class Answers:
    """A server whose answer to each body a test says: the bytes, or a status, a Content-Type and the bytes."""

    def __init__(self):
        self.answer = lambda body: b"null"
        self.bodies = []

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        answer = self.answer(body)
        status, content_type, content = answer if isinstance(answer, tuple) else (200, "application/json", answer)
        headers = [(b"content-type", content_type.encode())] if content_type else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="session")
def answering():
    """A server for all tests; starting one takes longer than most of them."""
    answers = Answers()
    with Emulator(models={"server": answers}, api_key=KEY) as emulator:
        yield answers, emulator.url


@pytest.fixture
def server(answering):
    answers, _ = answering
    answers.bodies = []
    return answers


@pytest.fixture
def ask(answering, server, tmp_path):
    """Run a job for the server, which gives an answer: the same one always, or what a function makes of the body."""

    def ask(answer, **arguments):
        server.answer = answer if callable(answer) else lambda body: answer
        return run_job(tmp_path, target=Target(model_id="server"), base_url=answering[1], **arguments)

    return ask


@pytest.fixture
def run(baseten, tmp_path):
    """Run a job for the model, by default with an output folder of the test."""

    def run(**arguments):
        return run_job(tmp_path, **{"target": Target(model_id="echo"), "base_url": baseten.url} | arguments)

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
            target = Target(model_id="raw")
            manifest = run(**{"target": target, "base_url": emulator.url, "max_concurrency": 1} | arguments)
        return [body.decode() for body in bodies], manifest

    return send


async def whole_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def run_job(tmp_path, *, base_url, api_key=KEY, max_response_bytes=DEFAULT_MAX_RESPONSE_BYTES, **arguments):
    options = {name: arguments.pop(name) for name in ("stop", "on_progress") if name in arguments}
    arguments = {
        "output_path": str(tmp_path / "out"),
        "max_concurrency": 8,
        "request_retries": QUICK,
        **arguments,
    }
    credentials = Credentials(api_key=api_key, base_url=base_url, max_response_bytes=max_response_bytes)
    return run_batch(BatchJob(**arguments), client=Client(credentials), **options)


def lines_of(*uris):
    """Return the lines of JSONL files, by row number; each row must be there once."""
    lines = [json.loads(line) for uri in uris for line in Path(uri.removeprefix("file://")).read_text().splitlines()]
    numbers = [line["row"] for line in lines]
    assert len(numbers) == len(set(numbers))
    return {line["row"]: line for line in lines}


def outputs_of(manifest):
    return {number: line["output"] for number, line in lines_of(*manifest.parts).items()}


def errors_of(manifest):
    return {number: line["error"] for number, line in lines_of(*manifest.failed_parts).items()}


def messages_of(manifest):
    return {number: error["message"] for number, error in errors_of(manifest).items()}


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)
