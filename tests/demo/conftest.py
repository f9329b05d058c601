"""A real Airflow whose connection leads to an emulator in this process, where requests can be counted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_baseten.emulator import Emulator
from tools.airflow_stack import AirflowStack, free_port
from tools.demo import (
    DAGS,
    ONLY_BY_HAND,
    STAGING_MODELS,
    add_baseten_connection,
    example_emulator,
    language_server,
)

HERE = Path(__file__).parent
API_KEY = "right.key-of-the-tests"
WEBHOOK_SECRET = "whsec_of-the-tests"
STAGING_KEY = "staging.key-of-the-tests"
WRONG_KEY = "wrong.key-of-the-tests"


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Airflow and of what it calls."""
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="package")
def baseten(folder: Path) -> Iterator[Emulator]:
    """An emulator with the example models behind it."""
    server_url = f"http://127.0.0.1:{free_port()}"
    with language_server(server_url, folder / "server.log") as server:
        server.wait_for_http(f"{server_url}/health")
        with example_emulator(server_url, folder / "home", API_KEY, WEBHOOK_SECRET) as emulator:
            yield emulator


@pytest.fixture(scope="package")
def staging() -> Iterator[Emulator]:
    """A second workspace, with an API key and a model of its own."""
    with Emulator(STAGING_MODELS, api_key=STAGING_KEY) as emulator:
        yield emulator


@pytest.fixture(scope="package")
def airflow(baseten: Emulator, staging: Emulator, folder: Path) -> Iterator[AirflowStack]:
    """An Airflow that has read the example DAGs and those beside this file."""
    dags = shutil.copytree(DAGS, folder / "dags")
    shutil.copytree(HERE / "dags", dags, dirs_exist_ok=True)
    config = ONLY_BY_HAND | {"AIRFLOW__CORE__PLUGINS_FOLDER": str(HERE / "plugins")}
    with AirflowStack(folder / "home", dags, config=config) as stack:
        add_baseten_connection(stack, "baseten_default", baseten.url, API_KEY, WEBHOOK_SECRET)
        add_baseten_connection(stack, "baseten_staging", staging.url, STAGING_KEY, WEBHOOK_SECRET)
        add_baseten_connection(stack, "refused", baseten.url, WRONG_KEY, WEBHOOK_SECRET)
        yield stack
