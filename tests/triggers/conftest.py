"""A result store, a server and an Airflow connection to it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.triggers.support import StatusServer


@pytest.fixture
def server() -> StatusServer:
    return StatusServer()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def waiting(
    server: StatusServer, store: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run a coroutine function while the server does, with fast settings."""

    def settings(calls_per_second: float = 200, store_check_interval: float = 0.1) -> None:
        monkeypatch.setenv("AIRFLOW__BASETEN__STATUS_CALLS_PER_SECOND", str(calls_per_second))
        monkeypatch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", str(store_check_interval))

    def run(scenario: Callable[[], Any], **options: float) -> Any:
        settings(**options)

        async def with_server() -> Any:
            async with server.running():
                connect(host=server.url, password="secret-key-1", extra={"result_store": f"file://{store}"})
                return await scenario()

        return asyncio.run(with_server())

    return run
