"""The part of Airflow's public REST API that the demo and the end-to-end tests need."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

FINISHED = frozenset({"success", "failed"})

# For so long a request is sent again while Airflow's database is busy. SQLite is locked by one writer at a time.
BUSY_SECONDS = 60.0


class AirflowApi:
    """A logged-in client of one Airflow.

    :param base_url: e.g. `http://127.0.0.1:8080`
    :param username: login of the simple auth manager
    :param password: its password
    """

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self.base_url = base_url
        self._session = loopback_session()
        token = self._session.post(
            f"{base_url}/auth/token", json={"username": username, "password": password}, timeout=30
        )
        token.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send a request below `/api/v2/` and return the decoded answer (`None` if it has no body).

        After a status 500 the request is sent again: the database was busy, and Airflow has rolled back.

        :raises requests.HTTPError: the answer is an error; its text is in the message
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            response = self._session.request(method, f"{self.base_url}/api/v2/{path}", timeout=60, **kwargs)
            if response.status_code != 500 or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        if not response.ok:
            raise requests.HTTPError(
                f"{method} {path}: {response.status_code} {response.text[:500]}", response=response
            )
        return response.json() if response.content else None

    def page(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """Return a page of the API server, as a logged-in user sees it.

        :raises requests.HTTPError: the answer is an error.
        """
        response = self._session.get(f"{self.base_url}/{path}", params=params, timeout=60)
        response.raise_for_status()
        return response.text

    def add_connection(self, connection_id: str, conn_type: str, **fields: Any) -> None:
        """Add a connection; `fields` are the API's: host, login, password, port, extra."""
        self.call("POST", "connections", json={"connection_id": connection_id, "conn_type": conn_type, **fields})

    def wait_for_dag(self, dag_id: str, seconds: float = 60) -> None:
        """Wait until the DAG processor has read this DAG.

        :raises RuntimeError: a DAG file cannot be imported; the message has the file and the traceback
        :raises TimeoutError: the DAG did not appear
        """

        def known() -> bool:
            for error in self.call("GET", "importErrors")["import_errors"]:
                raise RuntimeError(f"{error['filename']} cannot be imported:\n{error['stack_trace']}")
            return any(dag["dag_id"] == dag_id for dag in self.call("GET", "dags")["dags"])

        wait_until(known, seconds, f"DAG {dag_id} to be read")

    def run(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> "DagRun":
        """Unpause a DAG and trigger a run of it."""
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        run = self.call("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})})
        return DagRun(self, dag_id, run["dag_run_id"])


@dataclass(frozen=True)
class TaskInstance:
    """How one task instance of a run ended."""

    task_id: str
    map_index: int
    state: str | None
    duration: float | None
    try_number: int
    rendered_map_index: str | None

    @property
    def label(self) -> str:
        """The task id, with the map index of a mapped task."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class DagRun:
    """A run of a DAG."""

    api: AirflowApi
    dag_id: str
    run_id: str

    @property
    def _path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{self.run_id}"

    def state(self) -> str:
        """The run's state now, e.g. `running`."""
        return str(self.api.call("GET", self._path)["state"])

    def wait(self, seconds: float = 180) -> str:
        """Wait until the run has ended and return `success` or `failed`.

        :raises TimeoutError: it has not ended in that time
        """
        wait_until(lambda: self.state() in FINISHED, seconds, f"run {self.run_id} of {self.dag_id} to end")
        return self.state()

    def clear(self, task_id: str) -> None:
        """Clear a task, as a user does in the UI."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False}
        self.api.call("POST", f"dags/{self.dag_id}/clearTaskInstances", json=body)

    def mark(self, task_id: str, state: str) -> None:
        """Mark a task as `success` or `failed`, as a user does in the UI."""
        self.api.call("PATCH", f"{self._path}/taskInstances/{task_id}", json={"new_state": state})

    def task_instances(self) -> list[TaskInstance]:
        """The run's task instances, in the order in which they started; those that never did come last."""
        answer = self.api.call("GET", f"{self._path}/taskInstances", params={"limit": 1000})
        entries = sorted(
            answer["task_instances"], key=lambda ti: (ti["start_date"] or "~", ti["task_id"], ti["map_index"])
        )
        return [
            TaskInstance(
                task_id=ti["task_id"],
                map_index=ti["map_index"],
                state=ti["state"],
                duration=ti["duration"],
                try_number=ti["try_number"],
                rendered_map_index=ti["rendered_map_index"],
            )
            for ti in entries
        ]

    def states(self) -> dict[str, str | None]:
        """State of each task instance by its label."""
        return {task.label: task.state for task in self.task_instances()}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """A value that a task pushed; `None` if there is none."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self.api.call("GET", path, params={"map_index": map_index})["value"]
        except requests.HTTPError as error:
            if error.response.status_code == 404:
                return None
            raise

    def log(self, task: TaskInstance) -> str:
        """The text of a task instance's last try."""
        path = f"{self._path}/taskInstances/{task.task_id}/logs/{task.try_number}"
        entries = self.api.call("GET", path, params={"map_index": task.map_index, "full_content": True})["content"]
        return "\n".join(entry if isinstance(entry, str) else _log_line(entry) for entry in entries)


def loopback_session() -> requests.Session:
    """A session that heeds no proxy of the environment."""
    session = requests.Session()
    session.trust_env = False
    return session


def wait_until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.5) -> None:
    """Ask until a condition holds.

    :param condition: what is asked; an exception from it ends the wait
    :param seconds: how long at most
    :param what: completes the sentence "waited 60 s for ..."
    :param every: seconds between two questions
    :raises TimeoutError: it did not hold in time
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def _log_line(entry: Mapping[str, Any]) -> str:
    """One structured log entry as text, with the exceptions that it carries."""
    lines = [f"{entry.get('level', ''):7} {entry.get('event', '')}".strip()]
    lines += [f"        {error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
    return "\n".join(lines)
