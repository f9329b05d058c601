"""An Airflow that runs its tasks on Celery workers, each of which can be killed."""

from collections.abc import Mapping
from pathlib import Path

from tests.faults.cluster import PATIENCE, Cluster
from tools.airflow_stack import AIRFLOW, Service

# Each task is two processes.
TASKS_PER_WORKER = 2


class CeleryCluster(Cluster):
    """The processes of a :class:`Cluster`, and Celery workers beside them.

    :param home: AIRFLOW_HOME; its folder is made
    :param dags: folder with DAG files
    :param database: URL of an empty PostgreSQL
    :param broker: URL of a Redis
    :param config: further settings as environment variables
    """

    def __init__(self, home: Path, dags: Path, *, database: str, broker: str, config: Mapping[str, str]) -> None:
        executor = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": f"{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
        }
        super().__init__(home, dags, executor | dict(config))

    def start_workers(self, count: int) -> None:
        """Start workers and wait until they take tasks."""
        workers = [self._worker(f"worker-{number}") for number in range(1, count + 1)]
        for worker in workers:
            self._services[worker.name] = worker
            worker.__enter__()
        for worker in workers:
            worker.wait_until(
                lambda log=worker.log: " ready." in log.read_text(errors="replace"), PATIENCE, "the worker to be ready"
            )

    def _worker(self, label: str) -> Service:
        options = ["--celery-hostname", f"{label}@%h", "--concurrency", str(TASKS_PER_WORKER), "--skip-serve-logs"]
        return Service(label, [AIRFLOW, "celery", "worker", *options], self.home / f"{label}.log", env=self._env)
