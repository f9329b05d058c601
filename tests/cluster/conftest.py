"""An Airflow on two Celery workers, and an emulator in this process that notes each row it is sent."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.cluster.celery_cluster import CeleryCluster
from tests.cluster.services import missing_packages, postgresql, redis
from tests.faults.conftest import CONFIG

API_KEY = "right.key-of-the-tests"


@dataclass
class Squares:
    """A model that squares numbers, and remembers them."""

    received: list[int] = field(default_factory=list)

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        self.received.append(row["n"])
        return {"square": row["n"] ** 2}


@pytest.fixture(scope="package")
def squares() -> Squares:
    """The model of the emulator."""
    return Squares()


@pytest.fixture(scope="package")
def baseten(squares: Squares) -> Iterator[Emulator]:
    with Emulator(models={"square": squares}, api_key=API_KEY) as emulator:
        yield emulator


@pytest.fixture(scope="package")
def cluster(baseten: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryCluster]:
    """The Airflow; its workers are ready and its DAGs are read."""
    if missing := missing_packages():
        trouble = f"Debian packages are not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(trouble)
        pytest.skip(trouble)
    folder = tmp_path_factory.mktemp("cluster")
    dags = Path(__file__).parent / "dags"
    with (
        redis(folder / "redis.log") as broker,
        postgresql(folder / "postgresql.log") as database,
        CeleryCluster(folder / "home", dags, database=database, broker=broker, config=CONFIG) as cluster,
    ):
        cluster.api.add_connection("baseten_default", "baseten", host=baseten.url, port=0, password=API_KEY)
        cluster.start_workers(2)
        cluster.api.wait_for_dag("single")
        yield cluster
