"""One run of one task, as Airflow sees it: what users do to it, and how its processes die."""

import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.records import RecordedRequest
from tests.faults.cluster import PATIENCE, Cluster
from tools.airflow_api import DagRun, TaskInstance, wait_until


class TaskRun(ABC):
    """A run of one of the DAGs beside this file, which has one task.

    :param cluster: the Airflow
    :param baseten: the emulator
    :param name: name of the run, for the messages of failures
    :param notes: folder for what the task notes
    """

    task_id: ClassVar[str]
    run: DagRun

    def __init__(self, cluster: Cluster, baseten: Emulator, name: str, notes: Path) -> None:
        self.cluster = cluster
        self.baseten = baseten
        self.name = name
        self.notes = notes

    @abstractmethod
    def asked(self) -> list[RecordedRequest]:
        """What the emulator was sent for this run."""

    def start_run(self, dag_id: str, pause_at: str | None, **conf: Any) -> Self:
        """Start the run.

        :param pause_at: where the first try stops until it is killed: `start`, `defer` or `end`
        :param conf: what else the DAG needs
        """
        self._conf: Mapping[str, Any] = {"notes": str(self.notes), "pause_at": pause_at, **conf}
        self.run = self.cluster.api.run(dag_id, self._conf)
        return self

    def clear(self) -> None:
        """Clear the task, as a user does in the UI."""
        self.run.clear(self.task_id)

    def mark_failed(self) -> None:
        """Mark the task as failed, as a user does in the UI."""
        self.run.mark(self.task_id, "failed")

    def delete_run(self) -> None:
        """Delete the run, as a user does in the UI; one that has not ended is marked as failed before."""
        api, path = self.cluster.api, f"dags/{self.run.dag_id}/dagRuns/{self.run.run_id}"
        if self.run.state() not in {"success", "failed"}:
            api.call("PATCH", path, json={"state": "failed"})
        api.call("DELETE", path)

    def make_run_again(self) -> None:
        """Make a run with the id that the deleted one had."""
        body = {"dag_run_id": self.run.run_id, "logical_date": None, "conf": self._conf}
        self.cluster.api.call("POST", f"dags/{self.run.dag_id}/dagRuns", json=body)

    @property
    def task(self) -> TaskInstance:
        """The task instance as it is now."""
        [task] = self.run.task_instances()
        return task

    @property
    def output(self) -> Any:
        """What the task has returned."""
        return self.run.xcom(self.task_id)

    def wait_for_state(self, *states: str) -> None:
        """Wait until the task is in one of these states."""
        self.wait_until(lambda: self.task.state in states, f"state {states}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; the message of a failure has the logs of all tries."""
        try:
            wait_until(condition, PATIENCE, f"{self.name}: {what}", every=0.1)
        except TimeoutError as error:
            asked = [(r.method, r.action, r.status) for r in self.asked()]
            raise TimeoutError(f"{error}; Baseten was asked {asked}\n{self.all_logs()}") from None

    def wait_until_known(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds while Airflow can't be asked for logs."""
        wait_until(condition, PATIENCE, f"{self.name}: {what}", every=0.1)

    def wait_for_note(self, point: str, try_number: int = 1) -> None:
        """Wait until a try of the task has come to a point."""
        self.wait_until(self._note(point, try_number).exists, f"try {try_number} to come to {point}")

    def wait_for_retry(self) -> None:
        """Wait until another try than the first has begun. A busy Airflow may fail a try before it begins."""
        self.wait_until(
            lambda: any(self._note("start", number).exists() for number in range(2, self.task.try_number + 1)),
            "another try to begin",
        )

    def kill_worker(self, point: str = "start", try_number: int = 1) -> None:
        """Kill the task and its supervisor, as the end of a machine does, once the task has come to a point."""
        pids = self._processes(point, try_number)
        for pid in (pids["supervisor"], pids["task"]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def send_signal(self, process: str, signum: signal.Signals) -> None:
        """Send a signal to the `task` or its `supervisor`."""
        os.kill(self._processes("start", 1)[process], signum)

    def finish(self, state: str = "success") -> TaskInstance:
        """Wait for the end of the run, check how the task has ended, and return it."""
        self.run.wait(PATIENCE)
        assert self.task.state == state, self.log()
        return self.task

    def log(self, try_number: int | None = None) -> str:
        """What a try of the task has logged, by default the last."""
        task = self.task
        return self.run.log(task if try_number is None else replace(task, try_number=try_number))

    def all_logs(self) -> str:
        """What all tries of the task have logged."""
        tries = range(1, self.task.try_number + 1)
        return "\n".join(f"--- {self.name}, try {number}\n{self.log(number)}" for number in tries)

    def trigger_logs(self) -> str:
        """What the triggers of the task have logged."""
        folder = self.cluster.home / "logs" / f"dag_id={self.run.dag_id}" / f"run_id={self.run.run_id}"
        return "\n".join(file.read_text() for file in folder.rglob("*.trigger.*.log"))

    def _processes(self, point: str, try_number: int) -> dict[str, int]:
        self.wait_for_note(point, try_number)
        pids: dict[str, int] = json.loads(self._note(point, try_number).read_text())
        return pids

    def _note(self, point: str, try_number: int) -> Path:
        return self.notes / f"{try_number}-{point}"
