"""A database with records, and an API server on it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages import data
from tools.airflow_stack import Service, free_port

USERS = "admin:admin,viewer:viewer"


@pytest.fixture
def store(airflow_db: None) -> Iterator[Callable[[Iterable[data.Task]], None]]:
    """Replace the task instances that the pages show."""
    from airflow.utils.session import create_session

    def replace(tasks: Iterable[data.Task]) -> None:
        with create_session() as session:
            data.delete_all(session)
            data.insert(session, tasks, time.time())

    yield replace
    replace([])


@pytest.fixture(scope="module")
def api_server(airflow_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API server with two users; their passwords are their names."""
    folder = tmp_path_factory.mktemp("server")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({"admin": "admin", "viewer": "viewer"}))
    port = free_port()
    command = [str(Path(sys.executable).parent / "airflow"), "api-server", "--host", "127.0.0.1", "--port", str(port)]
    env: dict[str, Any] = {
        **os.environ,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "NO_PROXY": "127.0.0.1",
    }
    with Service("API server", command, folder / "api-server.log", env=env) as service:
        service.url = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
        service.wait_for_http(f"{service.url}/baseten/health", 120)  # type: ignore[attr-defined]
        yield service
