"""An Airflow whose processes can be killed, and an emulator in this process that counts what it is sent."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.faults.cluster import Cluster
from tests.faults.models import API_KEY, GATES, WEBHOOK_SECRET, RetryClock, model
from tests.faults.scenario import Scenario

# Airflow notices what is dead within seconds, and lets live what is only slow.
CONFIG = {
    "AIRFLOW__CORE__PARALLELISM": "12",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__BASETEN__STORE_CHECK_INTERVAL": "1",
    "AIRFLOW__BASETEN__MAX_RESPONSE_BYTES": "16777216",
}


@pytest.fixture(scope="package")
def clock() -> RetryClock:
    """Can hold second attempts to deliver a webhook back."""
    return RetryClock()


@pytest.fixture(scope="package")
def baseten(clock: RetryClock) -> Iterator[Emulator]:
    """An emulator with a model for each scenario."""
    models = {name: model(gate) for name, gate in GATES.items()}
    with Emulator(models=models, api_key=API_KEY, webhook_secrets=[WEBHOOK_SECRET], clock=clock) as emulator:
        yield emulator
        for gate in GATES.values():
            gate.open()


@pytest.fixture(scope="package")
def fragile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result store of the connection `fragile`, which a test may break."""
    folder = tmp_path_factory.mktemp("stores") / "fragile"
    folder.mkdir()
    return folder


@pytest.fixture(scope="package")
def cluster(baseten: Emulator, fragile_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The Airflow; its DAGs are read."""
    home = tmp_path_factory.mktemp("cluster") / "home"
    with Cluster(home, Path(__file__).parent / "dags", CONFIG) as cluster:
        for connection, store in {"baseten_default": home / "results", "fragile": fragile_store}.items():
            extra = {
                "webhook_endpoint": f"{cluster.url}/baseten/webhooks/{connection}",
                "webhook_secrets": WEBHOOK_SECRET,
                "result_store": f"file://{store}",
            }
            fields = {"host": baseten.url, "port": 0, "password": API_KEY, "extra": json.dumps(extra)}
            cluster.api.add_connection(connection, "baseten", **fields)
        cluster.api.wait_for_dag("from_triggerer_once")
        yield cluster


@pytest.fixture(scope="package")
def new_scenario(
    cluster: Cluster, baseten: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Scenario]:
    """Makes a scenario with a model of its own, whose queue is held. Several may run at once."""
    unused = iter(GATES.items())

    def make() -> Scenario:
        name, gate = next(unused)
        baseten.hold(name)
        return Scenario(cluster, baseten, name, gate, tmp_path_factory.mktemp("notes"))

    return make
