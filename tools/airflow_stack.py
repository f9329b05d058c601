"""A real Airflow on this machine, for as long as a `with` block lasts."""

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import requests

from tools.airflow_api import AirflowApi, loopback_session, wait_until
from tools.leash import Leash

PROGRAMS = Path(sys.executable).parent
AIRFLOW = str(PROGRAMS / "airflow")
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no program listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A process with a log file; it ends with the `with` block, or with the process that entered it.

    :param name: for messages
    :param command: program and arguments
    :param log: file for its output; its folder is made
    :param env: the process's whole environment; by default that of this process
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = os.environ if env is None else env
        self._leash: Leash | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._leash = Leash(self._command, env=self._env, log=self.log)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._leash:
            self._leash.let_go()

    def send(self, signum: int) -> None:
        """Send a signal to the process and all that it started."""
        if self._leash:
            self._leash.send(signum)

    @property
    def members(self) -> set[int]:
        """Ids of the process and all that it started."""
        return self._leash.members if self._leash else set()

    @property
    def ended(self) -> bool:
        """Whether the process does not run."""
        return self._leash is None or self._leash.ended

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition for as long as the process runs.

        :raises RuntimeError: the process ended, or the time is over; the message has the tail of its log
        """

        def holds() -> bool:
            if self.ended:
                raise RuntimeError(f"{self.name} ended while starting.\n{self.log_tail()}")
            return condition()

        try:
            wait_until(holds, seconds, what)
        except TimeoutError as error:
            raise RuntimeError(f"{self.name}: {error}.\n{self.log_tail()}") from None

    def wait_for_http(self, url: str, seconds: float = 30) -> None:
        """Wait until `url` is answered at all, whatever the status."""
        self.wait_until(lambda: _answers(url), seconds, f"an answer from {url}")

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class AirflowStack:
    """`airflow standalone` on free ports of 127.0.0.1: API server, scheduler, triggerer and DAG processor.

    Entering the block returns when all four are healthy; leaving it, or the end of this process in whatever way, ends
    them and all tasks.

    :param home: AIRFLOW_HOME; an empty or absent folder, which is left as it is at the end
    :param dags: folder with DAG files
    :param config: further settings as environment variables, e.g. `{"AIRFLOW__CORE__PARALLELISM": "4"}`
    :param programs: folder with the programs of the Airflow to start, by default that of this process
    :param progress: called with one line of text for each step
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        config: Mapping[str, str] | None = None,
        programs: Path = PROGRAMS,
        progress: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.ui_url = f"http://127.0.0.1:{free_port()}"
        self.home = home
        self._progress = progress
        self._service = Service(
            "Airflow",
            [str(programs / "airflow"), "standalone"],
            home / "standalone.log",
            env=airflow_environment(home, dags, self.ui_url, programs) | dict(config or {}),
        )

    def __enter__(self) -> Self:
        self._service.__enter__()
        try:
            self._wait_until_healthy()
            self.username, self.password = generated_login(self.home)
            self.api = AirflowApi(self.ui_url, self.username, self.password)
        except BaseException:
            self._service.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._service.__exit__(*exception)

    @property
    def log(self) -> Path:
        """Log file of all components."""
        return self._service.log

    def _wait_until_healthy(self, seconds: float = 180) -> None:
        self._progress(f"Airflow is starting, its log is {self.log}")
        reported: set[str] = set()

        def healthy() -> bool:
            for component in sorted(healthy_components(self.ui_url) - reported):
                reported.add(component)
                self._progress(f"{component.replace('_', ' ')} is healthy")
            return reported.issuperset(COMPONENTS)

        self._service.wait_until(healthy, seconds, "all components to be healthy")


def airflow_environment(home: Path, dags: Path, ui_url: str, programs: Path = PROGRAMS) -> dict[str, str]:
    """The environment of an Airflow on this machine, without the settings and connections of another one.

    :param home: AIRFLOW_HOME
    :param dags: folder with DAG files
    :param ui_url: where its API server is to listen
    :param programs: folder with its programs
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        # The default of 32 starts as many processes.
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{ui_url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": ui_url.rpartition(":")[2],
        "AIRFLOW__API__BASE_URL": ui_url,
        # These two would collide with those of another Airflow on this machine.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        # `airflow standalone` starts its children as `airflow`.
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "NO_PROXY": ",".join(filter(None, ("127.0.0.1,localhost", os.environ.get("NO_PROXY")))),
    }


def generated_login(home: Path) -> tuple[str, str]:
    """Name and password of the one user of an Airflow that has started for the first time."""
    [(username, password)] = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text()).items()
    return username, password


def healthy_components(ui_url: str) -> set[str]:
    """Those of `COMPONENTS` that Airflow calls healthy; none while its API server does not answer."""
    try:
        health = loopback_session().get(f"{ui_url}/api/v2/monitor/health", timeout=5).json()
    except requests.RequestException:
        return set()
    return {name for name in COMPONENTS if health.get(name, {}).get("status") == "healthy"}


def _answers(url: str) -> bool:
    try:
        loopback_session().get(url, timeout=5)
    except requests.RequestException:
        return False
    return True
