"""Truss's own model server, and the emulator set up like a workspace."""

from collections.abc import Iterator

import httpx
import pytest
from truth_support import Asked, serve_trusses, truss_python, workspace

from airflow_provider_baseten.emulator import Emulator


@pytest.fixture(scope="session")
def truss_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Base URLs of genuine Truss servers, one process for each directory in `trusses/`."""
    with serve_trusses(truss_python(), tmp_path_factory.mktemp("truss")) as servers:
        yield servers


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client with a new connection for every request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(timeout=20, verify=False, trust_env=False, limits=limits) as client:
        yield client


@pytest.fixture(scope="session")
def running_workspace() -> Iterator[Emulator]:
    with workspace() as emulator:
        yield emulator


@pytest.fixture
def emulator(running_workspace: Emulator) -> Iterator[Emulator]:
    """An emulated workspace without faults."""
    yield running_workspace
    running_workspace.faults.clear()


@pytest.fixture
def asked(emulator: Emulator) -> Asked:
    """Returns the requests that reached the emulator since the test began."""
    before = len(emulator.requests)
    return lambda: emulator.requests[before:]
