"""An Airflow with two triggerers and Celery workers, each a process that can be killed."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from tests.faults.cluster import PATIENCE, Cluster
from tools.airflow_stack import AIRFLOW, COMPONENTS, Service, healthy_components

WORKERS = 2
# Each task is two processes.
TASKS_PER_WORKER = 2
TRIGGERERS = 2


class CeleryCluster(Cluster):
    """The processes of a :class:`Cluster`, another triggerer, and Celery workers.

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

    def configure(self, variables: Mapping[str, str]) -> None:
        """Add settings as environment variables of the processes that start from now on."""
        self._env |= variables

    def start_others(self) -> None:
        """Start the other triggerers and the workers, and wait until the workers take tasks."""
        for number in range(2, TRIGGERERS + 1):
            self.start("triggerer", number)
        for number in range(1, WORKERS + 1):
            self.start_worker(number)
        for number in range(1, WORKERS + 1):
            self.wait_for_worker(number)

    def start_worker(self, number: int) -> None:
        """Start a worker."""
        label = f"worker-{number}"
        options = ["--celery-hostname", f"{label}@%h", "--concurrency", str(TASKS_PER_WORKER), "--skip-serve-logs"]
        log = self.home / f"{label}.log"
        worker = Service(label, [AIRFLOW, "celery", "worker", *options], log, env=self._env)
        self._services[label] = worker
        worker.__enter__()

    def wait_for_worker(self, number: int) -> None:
        """Wait until a worker that was started for the first time takes tasks."""
        worker = self._services[f"worker-{number}"]
        worker.wait_until(
            lambda: " ready." in worker.log.read_text(errors="replace"), PATIENCE, "the worker to be ready"
        )

    def is_healthy(self, since: datetime) -> bool:
        """Whether the API server calls all components healthy, and each triggerer has had a heartbeat since a time.

        For the API server, one healthy triggerer is enough.
        """
        if not healthy_components(self.url).issuperset(COMPONENTS):
            return False
        jobs = self.api.call("GET", "jobs", params={"job_type": "TriggererJob", "limit": 100})["jobs"]
        heartbeats = [datetime.fromisoformat(job["latest_heartbeat"]) for job in jobs]
        return sum(heartbeat > since for heartbeat in heartbeats) == TRIGGERERS

    def start_ended(self) -> Self:
        """Start the processes that have ended again, as a supervisor does."""
        for service in self._services.values():
            if service.ended:
                service.__exit__()
                service.__enter__()
        return self
