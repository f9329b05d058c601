"""An Airflow whose processes can be killed, and an emulator in this process that counts what it is sent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.faults.cluster import Cluster
from tests.faults.models import API_KEY, MODELS, WEBHOOK_SECRET, RetryGate, answer
from tests.faults.scenario import Scenario

# Airflow notices what is dead within seconds, and lets live what is only slow.
CONFIG = {
    "AIRFLOW__CORE__PARALLELISM": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__BASETEN__STORE_CHECK_INTERVAL": "1",
}


@pytest.fixture(scope="package")
def retry_gate() -> RetryGate:
    """Holds the second attempt to deliver a webhook back while a test says so."""
    return RetryGate()


@pytest.fixture(scope="package")
def baseten(retry_gate: RetryGate) -> Iterator[Emulator]:
    """An emulator with a model for each scenario, so that one does not see the requests of another."""
    models = dict.fromkeys(MODELS, answer)
    with Emulator(models=models, api_key=API_KEY, webhook_secrets=[WEBHOOK_SECRET], clock=retry_gate) as emulator:
        yield emulator


@pytest.fixture(scope="package")
def cluster(baseten: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The Airflow; its DAGs are read."""
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(folder / "home", Path(__file__).parent / "dags", CONFIG) as cluster:
        for connection in ("baseten_default", "fragile"):
            extra = {
                "webhook_endpoint": f"{cluster.url}/baseten/webhooks/{connection}",
                "webhook_secrets": WEBHOOK_SECRET,
                "result_store": f"file://{folder / connection}",
            }
            fields = {"host": baseten.url, "port": 0, "password": API_KEY, "extra": json.dumps(extra)}
            cluster.api.add_connection(connection, "baseten", **fields)
        cluster.api.wait_for_dag("from_triggerer_once")
        yield cluster


@pytest.fixture
def scenario(
    cluster: Cluster, baseten: Emulator, retry_gate: RetryGate, tmp_path: Path, unused_models: Iterator[str]
) -> Iterator[Scenario]:
    """A model of its own, whose queue is held."""
    cluster.wait_until_healthy()
    scenario = Scenario(cluster, baseten, next(unused_models), tmp_path)
    baseten.hold(scenario.model)
    yield scenario
    retry_gate.open()
    baseten.faults.clear()
    baseten.release(scenario.model)


@pytest.fixture(scope="package")
def unused_models() -> Iterator[str]:
    """Ids of models that no test has called yet."""
    return iter(MODELS)
