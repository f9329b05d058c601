"""An Airflow of separate processes, each of which can be killed, stopped and started again."""

import secrets
import signal
import sqlite3
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from tools.airflow_api import AirflowApi, wait_until
from tools.airflow_stack import (
    AIRFLOW,
    COMPONENTS,
    Service,
    airflow_environment,
    free_port,
    generated_login,
    healthy_components,
)

# Seconds that anything may take on a busy machine.
PATIENCE = 90

PROCESSES = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


class Cluster:
    """API server, scheduler with its workers, triggerers and DAG processor of one Airflow.

    :param home: AIRFLOW_HOME; its folder is made
    :param dags: folder with DAG files
    :param config: further settings as environment variables
    """

    api: AirflowApi

    def __init__(self, home: Path, dags: Path, config: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.home = home
        # Otherwise each process makes up its own.
        shared = {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        self._env = airflow_environment(home, dags, self.url) | shared | dict(config)
        self._services: dict[str, Service] = {}

    def __enter__(self) -> Self:
        migrate = [sys.executable, "-c", "from airflow.utils.db import initdb; initdb()"]
        subprocess.run(migrate, env=self._env, check=True, capture_output=True)
        try:
            for name in PROCESSES:
                self.start(name)
            self.wait_until_healthy()
            self.api = AirflowApi(self.url, *generated_login(self.home))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for service in self._services.values():
            service.send(signal.SIGKILL)
        for service in self._services.values():
            service.__exit__()

    def start(self, name: str, number: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Start a process.

        :param name: one of `PROCESSES`
        :param number: tells several of a kind from each other
        :param config: further settings of its own as environment variables
        """
        label = f"{name}-{number}"
        service = Service(
            label, [AIRFLOW, *PROCESSES[name]], self.home / f"{label}.log", env=self._env | dict(config or {})
        )
        self._services[label] = service
        service.__enter__()

    def send(self, name: str, signum: signal.Signals, number: int = 1) -> None:
        """Send a signal to a process and all that it started."""
        self._services[f"{name}-{number}"].send(signum)

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stop a process and all that it started, and let them go on at the end."""
        wait_until(lambda: self._stop(name), PATIENCE, f"{name} to hold no lock of the database", every=0.1)
        try:
            yield
        finally:
            self.send(name, signal.SIGCONT)

    def _stop(self, name: str) -> bool:
        """Stop a process, unless it is writing: while it holds the lock of the database, nobody else can write."""
        self.send(name, signal.SIGSTOP)
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=3)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self.send(name, signal.SIGCONT)
                return False
        return True

    def end(self, name: str, signum: signal.Signals, number: int = 1) -> None:
        """Send a signal that ends a process, and wait until nothing of it runs."""
        service = self._services.pop(f"{name}-{number}")
        service.send(signum)
        wait_until(lambda: service.ended, PATIENCE, f"{service.name} to end")
        service.__exit__()

    def peaks_of_memory(self, name: str, number: int = 1) -> dict[int, int]:
        """Return the most bytes that a process, and each that it started, has had in memory, by process id."""
        members = self._services[f"{name}-{number}"].members
        statuses = {pid: Path(f"/proc/{pid}/status").read_text() for pid in members}
        return {pid: 1024 * int(status.partition("VmHWM:")[2].split()[0]) for pid, status in statuses.items()}

    def wait_until_healthy(self) -> None:
        """Wait until the API server calls all components healthy."""
        api_server = self._services["api-server-1"]
        api_server.wait_until(
            lambda: healthy_components(self.url).issuperset(COMPONENTS), 180, "all components to be healthy"
        )
