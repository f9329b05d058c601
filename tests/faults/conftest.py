"""An Airflow whose processes can be killed, and an emulator in this process that counts what it is sent."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Durations, Emulator, Model
from tests.faults.cluster import Cluster
from tests.faults.management_scenarios import PromotionScenario, TrainingScenario, new_deployment
from tests.faults.models import API_KEY, GATES, PROMOTED, WEBHOOK_SECRET, Gate, RetryClock, model
from tests.faults.scenario import Scenario
from tests.faults.task_run import TaskRun

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
    models: dict[str, Any] = {name: model(gate) for name, gate in GATES.items()}
    models |= {name: Model(model(Gate()), candidates={new_deployment(name): None}) for name in PROMOTED}
    with Emulator(
        models=models,
        api_key=API_KEY,
        webhook_secrets=[WEBHOOK_SECRET],
        clock=clock,
        # A promotion goes on when a scenario says so.
        durations=Durations(release=3600),
    ) as emulator:
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
        cluster.api.wait_for_dag("promote_canceled_blocking")
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


@pytest.fixture(scope="package")
def new_training(
    cluster: Cluster, baseten: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], TrainingScenario]:
    """Makes a scenario with a training project of its own, whose jobs end when it says so. Several may run at once."""
    made: list[TrainingScenario] = []

    def make() -> TrainingScenario:
        _wait_for_turn(made)
        made.append(TrainingScenario(cluster, baseten, f"t{len(made)}", tmp_path_factory.mktemp("notes")))
        return made[-1]

    return make


@pytest.fixture(scope="package")
def new_promotion(
    cluster: Cluster, baseten: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], PromotionScenario]:
    """Makes a scenario with a model of its own, whose promotions end when it says so. Several may run at once."""
    made: list[PromotionScenario] = []

    def make() -> PromotionScenario:
        _wait_for_turn(made)
        made.append(PromotionScenario(cluster, baseten, PROMOTED[len(made)], tmp_path_factory.mktemp("notes")))
        return made[-1]

    return make


def _wait_for_turn(made: Sequence[TaskRun]) -> None:
    """Let four tasks start at once. Airflow takes a task that starts too slowly for a dead one."""
    if len(made) >= 4:
        made[-4].wait_for_note("start")
