"""One run of one task that calls a model: what it does is watched from both sides, Airflow's and Baseten's."""

from pathlib import Path
from typing import Any, Self

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from airflow_provider_baseten.emulator.faults import Fault
from airflow_provider_baseten.emulator.records import RecordedRequest
from tests.faults.cluster import Cluster
from tests.faults.models import Gate
from tests.faults.task_run import TaskRun

TASK = "predict"
QUESTION = "what now?"
ANSWER = {"answer": "WHAT NOW?"}


class Scenario(TaskRun):
    """A run of a task that calls a model of its own.

    :param cluster: the Airflow
    :param baseten: the emulator
    :param model: id of the model; only this scenario calls it
    :param gate: what the model waits for while it runs
    :param notes: folder for what the task notes
    """

    task_id = TASK

    def __init__(self, cluster: Cluster, baseten: Emulator, model: str, gate: Gate, notes: Path) -> None:
        super().__init__(cluster, baseten, model, notes)
        self.model = model
        self.gate = gate

    def start(self, dag_id: str, *, pause_at: str | None = None, connection: str = "baseten_default") -> Self:
        """Start the run.

        :param pause_at: where the first try stops until it is killed: `start`, `defer` or `end`
        """
        return self.start_run(dag_id, pause_at, model=self.model, question=QUESTION, connection=connection)

    def asked(self) -> list[RecordedRequest]:
        """What the emulator was sent for this model."""
        return [request for request in self.baseten.requests if request.model_id == self.model]

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

    def counts(self) -> tuple[int, int, list[str]]:
        """POSTs, runs of the model, and how the accepted requests stand."""
        return self.posts, self.model_runs, self.statuses

    def check_counts(self, posts: int, model_runs: int, statuses: list[str]) -> None:
        """Check `counts`; the message of a failure has the logs of all tries."""
        assert self.counts() == (posts, model_runs, statuses), self.all_logs()

    def wait_for_accepted(self, number: int = 1) -> None:
        """Wait until the emulator has accepted so many requests."""
        self.wait_until(lambda: len(self.accepted) >= number, f"{number} accepted requests")

    def wait_until_watched(self) -> None:
        """Wait until somebody has asked for the status of the request, so it is sent and noted."""
        self.wait_until(lambda: self.requests("async_request", "GET") > 0, "a status call")

    def wait_until_deferred(self) -> None:
        """Wait until the triggerer waits for the request."""
        self.wait_for_state("deferred")
        self.wait_until_watched()
