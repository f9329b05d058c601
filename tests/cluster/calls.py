"""Runs of mapped tasks that each call a model once, counted on both sides: Airflow's and Baseten's."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from tests.cluster.celery_cluster import CeleryCluster
from tests.faults.cluster import PATIENCE
from tests.faults.models import MODEL_SECONDS, Gate
from tests.s3_server import S3Server
from tools.airflow_api import DagRun, wait_until
from tools.demo import report

TASK = "call"


@dataclass
class Squares:
    """A model that squares numbers while its gate is open, and remembers them."""

    received: list[int] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        self.received.append(row["n"])
        self.gate.wait(MODEL_SECONDS)
        return {"square": row["n"] ** 2}


@dataclass
class Figures:
    """What all runs on the cluster have done.

    :param seconds: how long the cluster has run
    :param tasks: tasks that were to call a model once
    :param sent: requests that Baseten was sent
    :param deliveries: deliveries that the receiver has accepted
    :param duplicates: runs of a model for an input that it had been run for
    :param lost: tasks without the right output
    """

    seconds: int = 0
    tasks: int = 0
    sent: int = 0
    deliveries: int = 0
    duplicates: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in vars(self).items())


class Calls:
    """A run of a DAG of `dags/calls.py`, with a model that nothing else calls.

    :param cluster: the Airflow
    :param baseten: the emulator
    :param s3: the server with the XComs
    :param model_id: id of the model
    :param model: the model
    :param figures: what this run is added to
    """

    run: DagRun

    def __init__(
        self,
        cluster: CeleryCluster,
        baseten: Emulator,
        s3: S3Server,
        *,
        model_id: str,
        model: Squares,
        figures: Figures,
    ) -> None:
        self.cluster = cluster
        self.baseten = baseten
        self.model = model
        self._s3 = s3
        self.model_id = model_id
        self._figures = figures

    def start(self, way: str, tasks: int, connection: str = "baseten_default") -> Self:
        """Start the run; the model's queue is held and its gate closed until :meth:`release`."""
        self.baseten.hold(self.model_id)
        self.model.gate.close()
        self.tasks = tasks
        self.is_async = way != "predict"
        self.run = self.cluster.api.run(f"{way}_{tasks}", {"model": self.model_id, "connection": connection})
        return self

    def release(self) -> None:
        """Let the model respond to everything."""
        self.model.gate.open()
        self.baseten.release(self.model_id)

    # Baseten's side

    @property
    def sent(self) -> int:
        """How many requests that cost money the emulator was sent, whether or not it has responded."""
        actions = [request.action for request in self.baseten.requests if request.model_id == self.model_id]
        return actions.count("async_predict") + actions.count("predict")

    @property
    def accepted(self) -> list[AsyncRequest]:
        """The async requests."""
        return [request for request in self.baseten.async_requests.values() if request.target == self.model_id]

    @property
    def deliveries(self) -> list[int | None]:
        """What the receiver responded to each delivery."""
        return [attempt.status for request in self.accepted for attempt in request.webhook_attempts]

    @property
    def polled(self) -> Counter[str]:
        """How often the status of each request was asked for."""
        routes = [r.route for r in self.baseten.requests if (r.model_id, r.method) == (self.model_id, "GET")]
        return Counter(route.removeprefix("/") for route in routes)

    def wait_until_polled(self) -> None:
        """Wait until the status of each task's request is asked for, from now on."""
        before = self.polled
        self.wait_until(
            lambda: len(self.polled) == self.tasks and all(self.polled[i] > before[i] for i in self.polled),
            "the status of each request to be asked for",
        )

    # Airflow's side

    @property
    def states(self) -> Counter[str | None]:
        """How many of the tasks are in each state."""
        return Counter(task.state for task in self.run.task_instances())

    @property
    def tries(self) -> list[int]:
        """The number of tries of each task, sorted."""
        return sorted(task.try_number for task in self.run.task_instances())

    def wait_until_deferred(self) -> None:
        """Wait until triggers wait for all requests."""
        self.wait_until(lambda: self.states == {"deferred": self.tasks}, "the tasks to be deferred")
        self.wait_until_polled()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        try:
            wait_until(condition, 2 * PATIENCE, what, every=0.2)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self._sides()}\n{report(self.run)}") from None

    def trigger_logs(self) -> str:
        """What the triggers of the tasks have logged."""
        folder = self.cluster.home / "logs" / f"dag_id={self.run.dag_id}" / f"run_id={self.run.run_id}"
        return "\n".join(file.read_text() for file in folder.rglob("*.trigger.*.log"))

    def outputs(self) -> list[Any]:
        """What the tasks have returned."""
        return [self._output(number) for number in range(self.tasks)]

    def check(self, *, sent_again: int = 0) -> None:
        """Wait for the end of the run; check that each task has its output, and that the model ran once for each.

        :param sent_again: how many requests Baseten did not accept because their senders died
        """
        assert self.run.wait(3 * PATIENCE) == "success", f"{self._sides()}\n{report(self.run)}"
        outputs = self.outputs()
        right = [{"square": number**2} for number in range(self.tasks)]
        received = Counter(self.model.received)
        self._figures.tasks += self.tasks
        self._figures.sent += self.sent
        self._figures.deliveries += self.deliveries.count(200)
        self._figures.duplicates += received.total() - len(received)
        self._figures.lost += sum(output != expected for output, expected in zip(outputs, right, strict=True))
        assert outputs == right
        assert received == Counter(range(self.tasks)), self._sides()
        assert self.sent == self.tasks + sent_again, self._sides()
        if self.is_async:
            assert self.deliveries == [200] * self.tasks, self._sides()
            assert [request.status for request in self.accepted] == ["SUCCEEDED"] * self.tasks

    def _output(self, map_index: int) -> Any:
        # An XCom holds the path of its value, which is over the threshold.
        path = self.run.xcom(TASK, map_index=map_index)
        return None if path is None else json.loads(self._s3.read(path))

    def _sides(self) -> str:
        return (
            f"{self.tasks} tasks {dict(self.states)}; {self.sent} sent, {len(self.accepted)} accepted, "
            f"deliveries {self.deliveries}"
        )
