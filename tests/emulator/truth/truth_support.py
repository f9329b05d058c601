"""What these tests share: Truss directories, Truss's own servers, and an emulator set up like a workspace."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from custom_server import SERVER
from fastapi import HTTPException

from airflow_provider_baseten.emulator import Emulator, Model, RecordedRequest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TRUSSES = {folder.name: folder for folder in sorted((HERE / "trusses").iterdir()) if folder.is_dir()}
API_KEY = "abcd1234.the-key-of-the-tests"
AUTHORIZED = {"authorization": f"Bearer {API_KEY}"}
DEPLOYMENT = "d1"

Asked = Callable[[], list[RecordedRequest]]


def broken_chain(arguments: dict[str, Any]) -> None:
    if arguments["kind"] == "http":
        raise HTTPException(status_code=422, detail={"field": "name"})
    raise LookupError("no such name")


def workspace() -> Emulator:
    """Models and chains, each in production, development and the regional environment `prod-us`."""

    def deployed(backend: Any) -> Model:
        return Model(backend, regional_environments=("prod-us",), deployment_id=DEPLOYMENT)

    models = {
        "abc": deployed(TRUSSES["echo"]),
        "stream": deployed(TRUSSES["stream_async"]),
        "raises": deployed(TRUSSES["raises"]),
        "openai": deployed(TRUSSES["openai"]),
        "custom": deployed(SERVER),
        "any": deployed(TRUSSES["request_only"]),
    }
    chains = {"xyz": deployed(TRUSSES["echo"]), "any": deployed(TRUSSES["request_only"]), "broken": broken_chain}
    return Emulator(models=models, chains=chains, api_key=API_KEY)


def truss_python() -> Path:
    """The Python that Truss's own server is installed for; without it a test is skipped, and fails in CI."""
    python = ROOT / ".venv-truss" / "bin" / "python"
    if not python.exists():
        reason = "Truss's own server is not installed; `make test` installs it"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return python


@contextmanager
def serve_trusses(
    python: Path, work_dir: Path, truss_dirs: Iterable[Path] = TRUSSES.values()
) -> Iterator[dict[str, str]]:
    """Runs `serve.py` until the block ends; every server has loaded its model when the block starts."""
    log = work_dir / "servers.log"
    # The server writes `~/inference_server_crashed.txt` when a model does not load.
    environment = {**os.environ, "HOME": str(work_dir), "DISABLE_JSON_LOGGING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, HERE / "serve.py", work_dir / "apps", *truss_dirs]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        try:
            ports = json.loads(process.stdout.readline() or "null")
            assert ports, log.read_text()
            servers = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
            for name, url in servers.items():
                _wait_until_loaded(name, url, log)
            yield servers
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _wait_until_loaded(name: str, url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/v1/models/model/loaded", verify=False, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"The Truss server of {name!r} was not loaded within 30 s:\n{log.read_text()[-4000:]}")
