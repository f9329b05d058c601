"""One run of one task: what it does is watched from both sides, Airflow's and Baseten's."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from airflow_provider_baseten.emulator.faults import Fault
from tests.faults.cluster import PATIENCE, Cluster
from tests.faults.models import Gate
from tools.airflow_api import DagRun, TaskInstance, wait_until

TASK = "predict"
QUESTION = "what now?"
ANSWER = {"answer": "WHAT NOW?"}


class Scenario:
    """A run of one of the DAGs beside this file, which calls a model of its own.

    :param cluster: the Airflow
    :param baseten: the emulator
    :param model: id of the model; only this scenario calls it
    :param gate: what the model waits for while it runs
    :param notes: folder for what the task notes
    """

    run: DagRun

    def __init__(self, cluster: Cluster, baseten: Emulator, model: str, gate: Gate, notes: Path) -> None:
        self.cluster = cluster
        self.baseten = baseten
        self.model = model
        self.gate = gate
        self.notes = notes

    def start(self, dag_id: str, *, pause_at: str | None = None, connection: str = "baseten_default") -> Self:
        """Start the run.

        :param pause_at: where the first try stops until it is killed: `start`, `defer` or `end`
        """
        self._conf = {
            "model": self.model,
            "question": QUESTION,
            "connection": connection,
            "notes": str(self.notes),
            "pause_at": pause_at,
        }

        self.run = self.cluster.api.run(dag_id, self._conf)
        return self

    # Baseten's side

    def requests(self, action: str, method: str | None = None) -> int:
        """How many requests the emulator was sent, whether or not it answered."""
        return sum(
            (request.model_id, request.action) == (self.model, action) and method in {None, request.method}
            for request in self.baseten.requests
        )

    def is_answered(self, action: str) -> bool:
        """Whether the emulator has answered all that it was sent."""
        asked = [r for r in self.baseten.requests if (r.model_id, r.action) == (self.model, action)]
        return bool(asked) and all(request.status is not None for request in asked)

    @property
    def posts(self) -> int:
        """How often the request was sent."""
        return self.requests("async_predict")

    @property
    def accepted(self) -> list[AsyncRequest]:
        """What the emulator has accepted, oldest first."""
        return [request for request in self.baseten.async_requests.values() if request.target == self.model]

    @property
    def statuses(self) -> list[str]:
        """How the accepted requests stand."""
        return [request.status for request in self.accepted]

    @property
    def model_runs(self) -> int:
        """How often the model was run: what is paid."""
        return sum(request.model_runs for request in self.accepted)

    def inject(self, action: str, **fault: Any) -> None:
        """Let something go wrong with the next request to the model."""
        self.baseten.inject(Fault(target=self.model, action=action, **fault))

    def release(self) -> None:
        """Let the model work off its queue."""
        self.baseten.release(self.model)

    def run_model(self) -> None:
        """Let the model begin with what is queued, but not end."""
        self.gate.close()
        self.release()
        self.wait_until(lambda: "IN_PROGRESS" in self.statuses, "the model to run")

    # Airflow's side

    def clear(self) -> None:
        """Clear the task, as a user does in the UI."""
        self.run.clear(TASK)

    def mark_failed(self) -> None:
        """Mark the task as failed, as a user does in the UI."""
        self.run.mark(TASK, "failed")

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

    def counts(self) -> tuple[int, int, list[str]]:
        """POSTs, runs of the model, and how the accepted requests stand."""
        return self.posts, self.model_runs, self.statuses

    def check_counts(self, posts: int, model_runs: int, statuses: list[str]) -> None:
        """Check `counts`; the message of a failure has the logs of all tries."""
        assert self.counts() == (posts, model_runs, statuses), self._all_logs()

    @property
    def output(self) -> Any:
        """What the task has returned."""
        return self.run.xcom(TASK)

    def wait_for_state(self, *states: str) -> None:
        """Wait until the task is in one of these states."""
        self.wait_until(lambda: self.task.state in states, f"state {states}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; the message of a failure has the logs of all tries."""
        try:
            wait_until(condition, PATIENCE, f"{self.model}: {what}", every=0.1)
        except TimeoutError as error:
            asked = [(r.method, r.action, r.status) for r in self.baseten.requests if r.model_id == self.model]
            raise TimeoutError(f"{error}; Baseten was asked {asked}\n{self._all_logs()}") from None

    def wait_until_known(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds while Airflow can't be asked for logs."""
        wait_until(condition, PATIENCE, f"{self.model}: {what}", every=0.1)

    def wait_for_accepted(self, number: int = 1) -> None:
        """Wait until the emulator has accepted so many requests."""
        self.wait_until(lambda: len(self.accepted) >= number, f"{number} accepted requests")

    def wait_for_note(self, point: str, try_number: int = 1) -> None:
        """Wait until a try of the task has come to a point."""
        self.wait_until(self._note(point, try_number).exists, f"try {try_number} to come to {point}")

    def wait_until_watched(self) -> None:
        """Wait until somebody has asked for the status of the request, so it is sent and noted."""
        self.wait_until(lambda: self.requests("async_request", "GET") > 0, "a status call")

    def wait_until_deferred(self) -> None:
        """Wait until the triggerer waits for the request."""
        self.wait_for_state("deferred")
        self.wait_until_watched()

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

    def _all_logs(self) -> str:
        tries = range(1, self.task.try_number + 1)
        return "\n".join(f"--- {self.model}, try {number}\n{self.log(number)}" for number in tries)

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
