"""Truss's own model server, and the emulator beside it, serving the same Truss directories."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TRUSSES = {folder.name: folder for folder in sorted((HERE / "trusses").iterdir()) if folder.is_dir()}
API_KEY = "abcd1234.the-key-of-the-tests"

TrussServers = dict[str, str]


@pytest.fixture(scope="session")
def trusses() -> dict[str, Path]:
    """The Truss directories of this folder by name."""
    return TRUSSES


@pytest.fixture(scope="session")
def truss_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrussServers]:
    """Base URLs of genuine Truss servers, one process for each directory in `trusses/`."""
    python = ROOT / ".venv-truss" / "bin" / "python"
    if not python.exists():
        reason = "Truss's own server is not installed; `make .venv-truss` builds its environment"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with serve_trusses(python, tmp_path_factory.mktemp("truss")) as servers:
        yield servers


@contextmanager
def serve_trusses(python: Path, work_dir: Path) -> Iterator[TrussServers]:
    """Runs `serve.py` until the block ends; every server has loaded its model when the block starts."""
    log = work_dir / "servers.log"
    # The server writes `~/inference_server_crashed.txt` when a model does not load.
    environment = {**os.environ, "HOME": str(work_dir), "DISABLE_JSON_LOGGING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, HERE / "serve.py", work_dir / "apps", *TRUSSES.values()]
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
                _wait_until_ready(name, url, log)
            yield servers
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _wait_until_ready(name: str, url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/v1/models/model").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    pytest.fail(f"The Truss server of {name!r} was not ready within 30 s:\n{log.read_text()[-4000:]}")
