"""What happens in a life: everything is drawn from the seed, each kind of trouble from a generator of its own."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from airflow_provider_baseten.emulator import Fault
from tests.random.virtual_time import Windows

# Kinds of trouble that can be left out one by one, to see which of them an error needs.
TROUBLES = (
    "crash",
    "user",
    "input",
    "model",
    "queue",
    "webhook",
    "submit",
    "status",
    "cancel",
    "triggerer",
    "trigger numbers",
    "baseten down",
    "store down",
    "receiver down",
    "airflow down",
    "slow store",
    "flaky",
)

_SPAN = 500.0


@dataclass
class Run:
    """One run of the model."""

    seconds: float = 1.0
    status: int = 200
    size: int = 0


@dataclass
class TaskPlan:
    """One task instance.

    :param arguments: of the operator.
    :param outputs: where they come from: ``webhook``, ``result_path``, ``none``.
    """

    map_index: int
    arguments: dict[str, Any]
    outputs: str
    retries: int
    begins: float
    execution_timeout: float | None
    deaths: list[int | None]
    kills: list[float | None]
    inputs: list[int]
    user: list[tuple[float, str]]
    runs: list[Run]
    held: list[tuple[float, float]]
    faults: list[tuple[float, Fault]]

    @property
    def model_id(self) -> str:
        return f"m{self.map_index + 1}"


@dataclass
class Plan:
    """A life.

    :param without: kinds of trouble that are left out.
    """

    seed: int
    without: frozenset[str] = frozenset()
    tasks: list[TaskPlan] = field(init=False)

    def __post_init__(self) -> None:
        draw = self.draw("world")
        self.has_task_states = draw.random() < 0.6
        self.look_interval = draw.choice([1.0, 5.0, 20.0])
        self.rotates = draw.random() < 0.3
        count = draw.choice([1, 1, 2, 3])
        self.tasks = [self._task(index if count > 1 else -1) for index in range(count)]
        self.baseten_down = self._windows("baseten down", 1, 60)
        self.store_down = self._windows("store down", 1, 60)
        self.receiver_down = self._windows("receiver down", 1, 30)
        self.airflow_down = self._windows("airflow down", 1, 20)
        # Part of all uses of the store, and of Airflow's API, that fail although neither is down.
        self.flakiness = 0.0 if "flaky" in self.without else draw.choice([0.0, 0.0, 0.1])
        # SQLite gives the number of a deleted trigger to the next one, which then counts as the one that still runs.
        self.reuses_numbers = self._has("trigger numbers") and self.draw("trigger numbers").random() < 0.5
        draw = self.draw("triggerer")
        events = [
            (draw.uniform(0, _SPAN), draw.choice(["restart", "freeze"]), draw.expovariate(1 / 40))
            for _ in range(draw.choice([0, 0, 1, 2, 4]))
        ]
        self.triggerer = [] if "triggerer" in self.without else sorted(events)

    def draw(self, what: str) -> Random:
        return Random(f"{self.seed} {what}")

    def _windows(self, trouble: str, most: int, length: float) -> Windows:
        return Windows(self.draw(trouble), most=0 if trouble in self.without else most, span=_SPAN, length=length)

    def _has(self, trouble: str) -> bool:
        return trouble not in self.without

    def _task(self, map_index: int) -> TaskPlan:
        draw = self.draw(f"task {map_index}")
        outputs = draw.choice(["webhook"] * 6 + ["result_path", "none"])
        arguments: dict[str, Any] = {
            "deferrable": draw.random() < 0.6,
            "on_orphaned_request": draw.choice(["resubmit", "fail"]),
            "cancel_on_kill": draw.random() < 0.8,
            "cancel_on_timeout": draw.random() < 0.7,
            "poll_interval": draw.choice([1.0, 5.0, 30.0]),
            "timeout": draw.choice([None, None, None, 20.0, 90.0, 400.0]),
            "max_time_in_queue_seconds": draw.choice([None, None, 10, 60]),
            "priority": draw.choice([None, 2]),
            "inference_retry_config": draw.choice([None, {"max_attempts": 1}, {"max_attempts": 5}]),
            "wait_for_completion": draw.random() < 0.95,
        }
        return TaskPlan(
            map_index=map_index,
            arguments=arguments,
            outputs=outputs,
            retries=draw.choice([0, 1, 2, 4]),
            begins=draw.uniform(0, 20),
            execution_timeout=draw.choice([None, None, None, 30.0, 200.0]),
            deaths=self._deaths(map_index),
            kills=self._kills(map_index),
            inputs=self._inputs(map_index),
            user=self._user(map_index),
            runs=self._runs(map_index),
            held=self._held(map_index),
            faults=self._faults(map_index),
        )

    def _deaths(self, index: int) -> list[int | None]:
        draw = self.draw(f"crash {index}")
        steps = [draw.randint(1, 16) if draw.random() < 0.4 else None for _ in range(8)]
        return steps if self._has("crash") else []

    def _kills(self, index: int) -> list[float | None]:
        """Seconds after which a worker is asked to end by who runs it, and killed five seconds later."""
        draw = self.draw(f"kill {index}")
        moments = [draw.expovariate(1 / 20) if draw.random() < 0.1 else None for _ in range(8)]
        return moments if self._has("crash") else []

    def _inputs(self, index: int) -> list[int]:
        """Which input each attempt is given."""
        draw = self.draw(f"input {index}")
        versions = [0]
        for _ in range(15):
            versions.append(draw.choice([0, 1, 2]) if draw.random() < 0.25 else versions[-1])
        return versions if self._has("input") else [0] * 16

    def _user(self, index: int) -> list[tuple[float, str]]:
        draw = self.draw(f"user {index}")
        acts = [
            (
                draw.choice([draw.uniform(5, 60), draw.uniform(5, _SPAN)]),
                draw.choice(["clear", "clear", "failed", "success", "make again", "make again", "delete"]),
            )
            for _ in range(draw.choice([0, 0, 0, 1, 1, 2, 3]))
        ]
        return sorted(acts) if self._has("user") else []

    def _runs(self, index: int) -> list[Run]:
        draw = self.draw(f"model {index}")
        runs = []
        for _ in range(40):
            status = draw.choice([200] * 16 + [500, 500, 422, 429]) if self._has("model") else 200
            seconds = draw.choice([0.0, draw.expovariate(1 / 5), draw.expovariate(1 / 60)])
            runs.append(Run(seconds, status, size=400_000 if draw.random() < 0.03 else 0))
        return runs

    def _held(self, index: int) -> list[tuple[float, float]]:
        """When the queue is held, and until when."""
        draw = self.draw(f"queue {index}")
        begins = [draw.uniform(0, _SPAN) for _ in range(draw.choice([0, 1, 2]))]
        held = [(begin, begin + draw.expovariate(1 / 90)) for begin in begins]
        if draw.random() < 0.5:
            held.append((0.0, draw.expovariate(1 / 120)))
        return held if self._has("queue") else []

    def _faults(self, index: int) -> list[tuple[float, Fault]]:
        made = []
        for trouble, make, often in (
            ("webhook", _webhook_fault, 0.4),
            ("submit", _submit_fault, 0.4),
            ("status", _status_fault, 0.5),
            ("cancel", _cancel_fault, 0.2),
        ):
            draw = self.draw(f"{trouble} {index}")
            moments = [draw.choice([0.0, draw.uniform(0, _SPAN)]) for _ in range(3) if draw.random() < often]
            faults = [(moment, make(draw, f"m{index + 1}")) for moment in moments]
            made += faults if self._has(trouble) else []
        return sorted(made, key=lambda fault: fault[0])

    def __str__(self) -> str:
        ledger = "the task state store" if self.has_task_states else "the result store"
        lines = [
            f"seed {self.seed}, the ledger is in {ledger}, the store is looked into every {self.look_interval:g} s",
            f"down: Baseten {self.baseten_down}; store {self.store_down}; receiver {self.receiver_down}; "
            f"Airflow's API {self.airflow_down}",
            f"flaky: {self.flakiness:.0%}; triggerer: {self.triggerer}",
        ]
        for task in self.tasks:
            lines.append(f"task {task.model_id}: {replace(task, runs=task.runs[:5])}")
        return "\n".join(lines)


def _submit_fault(draw: Random, model: str) -> Fault:
    where: dict[str, Any] = {"target": model, "action": "async_predict", "times": draw.randint(1, 3)}
    return draw.choice(
        [
            Fault(**where, status=429, headers={"Retry-After": "2"}),
            Fault(**where, status=503),
            Fault(**where, status=401),
            Fault(**where, delay=draw.uniform(0, 20)),
            Fault(**where, reset=True),
            Fault(**where, reset=True, after_model=True),
            Fault(**where, status=504, after_model=True),
            Fault(**where, status=502, after_model=True),
            Fault(**where, after_webhook=True),
            Fault(**where, after_webhook=True),
        ]
    )


def _status_fault(draw: Random, model: str) -> Fault:
    where: dict[str, Any] = {"target": model, "action": "async_request", "method": "GET", "times": draw.randint(1, 6)}
    return draw.choice(
        [
            Fault(**where, status=404),
            Fault(**where, status=429),
            Fault(**where, status=429, headers={"Retry-After": "20"}),
            Fault(**where, status=500),
            Fault(**where, status=401),
            Fault(**where, status=200, body={"status": "SOMETHING_NEW"}),
            Fault(**where, status=200, body="<html>a proxy</html>"),
            Fault(**where, delay=draw.uniform(0, 60)),
            Fault(**where, reset=True),
        ]
    )


def _cancel_fault(draw: Random, model: str) -> Fault:
    where: dict[str, Any] = {"target": model, "action": "async_request", "method": "DELETE"}
    return draw.choice(
        [Fault(**where, status=500), Fault(**where, status=404), Fault(**where, reset=True), Fault(**where, delay=50)]
    )


def _webhook_fault(draw: Random, model: str) -> Fault:
    where: dict[str, Any] = {"target": model, "action": "webhook", "times": draw.randint(1, 2)}
    return draw.choice(
        [
            Fault(**where, delay=draw.expovariate(1 / 60)),
            Fault(**where, status=200),
            Fault(**where, status=400),
            Fault(**where, status=503),
            Fault(**where, reset=True),
            Fault(**where, status=503, after_model=True),
            Fault(**where, status=400, after_model=True),
            Fault(**where, reset=True, after_model=True),
        ]
    )
