"""As much of Airflow as the life of a task instance needs: attempts, retries, clears, deferral, and what it keeps."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferralTimeout, TaskDeferred

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from tests.random.worker import Killed, Worker, step

if TYPE_CHECKING:
    from tests.random.plan import TaskPlan
    from tests.random.triggerer import Running
    from tests.random.world import World

# What users did in all lives so far, and when.
seen_acts: Counter[str] = Counter()

_TERMINATION = 5.0


class ApiDownError(Exception):
    """Airflow's API server does not answer."""


class TaskStates:
    """Airflow's task state store: JSON values that survive retries and clears.

    :param reach: raises when the API server can't be reached.
    """

    def __init__(self, reach: Callable[[], None]) -> None:
        self.values: dict[str, str] = {}
        self._reach = reach

    def get(self, key: str, default: Any = None) -> Any:
        self._reach()
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        assert value is not None
        assert retention is NEVER_EXPIRE, "the record would be forgotten while it is needed"
        step("before the task state is set")
        self._reach()
        self.values[key] = json.dumps(value)
        step("after the task state was set")

    def delete(self, key: str) -> None:
        step("before the task state is deleted")
        self._reach()
        self.values.pop(key, None)
        step("after the task state was deleted")


@dataclass
class Attempt:
    """What one attempt was given, and what it came to.

    :param wanted: version of the input, ``max_tries``, and which run of this id it is.
    :param decided_at: when it was known how the wait ended: by the trigger, or by the worker itself.
    """

    wanted: tuple[int, int, int]
    try_number: int
    began: float
    worker: Worker | None = None
    deferred: bool = False
    decided_at: float = 0.0
    ended: float = 0.0
    value: Any = None
    error: BaseException | None = None
    ended_by: str | None = None


@dataclass
class TaskInstance:
    """A task instance, from the first attempt until it is no longer needed."""

    world: "World"
    plan: "TaskPlan"
    dag_id: str = "lives"
    run_id: str = "manual/2026"
    task_id: str = "predict"
    try_number: int = 0
    max_tries: int = 0
    state: str = "scheduled"
    xcoms: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    kills: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.max_tries = self.plan.retries
        self.map_index = self.plan.map_index
        self.states = TaskStates(self.world.reach_airflow)
        self._workers = 0
        self._former: Running | None = None
        self._adopted: set[Running] = set()
        self._acts = list(self.plan.user)
        self.run_number, self.run_started = 0, self.world.loop.epoch_time()

    def xcom_push(self, key: str, value: Any) -> None:
        step("before an XCom is pushed")
        if key == "request_id":
            self.world.check_recorded(self, value)
        self.world.reach_airflow()
        self.xcoms[key] = json.loads(json.dumps(value))
        step("after an XCom was pushed")

    @property
    def wanted(self) -> tuple[int, int, int]:
        """Version of the input, ``max_tries`` and run of the attempt that runs."""
        return self.attempts[-1].wanted

    @property
    def identity(self) -> dict[str, Any]:
        return {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.task_id, "map_index": self.map_index}

    async def live(self) -> None:
        """Make attempts until one succeeds, no retry is left or a user ends it, and all that users do is done."""
        await asyncio.sleep(self.plan.begins)
        while True:
            attempt = await self.attempt()
            if attempt.ended_by == "clear of what runs":
                continue
            act = attempt.ended_by
            if act is None and attempt.error is not None and self.try_number <= self.max_tries:
                self.state = "up_for_retry"
                act = await self._until(asyncio.ensure_future(asyncio.sleep(self.world.draw.uniform(1, 60))))
                if act is None:
                    continue
            while act not in {"clear", "make again"}:
                self.state = act or ("failed" if attempt.error else "success")
                if not self._acts or self.state == "delete":
                    return
                act = await self._until(asyncio.get_running_loop().create_future())
            if act == "make again":
                self._make_again()
            else:
                self.max_tries = self.try_number + self.plan.retries

    def _make_again(self) -> None:
        """Become the task instance of a run that was deleted, with all that Airflow knows of it, and made again."""
        self.run_number += 1
        self.run_started = self.world.loop.epoch_time()
        self.states = TaskStates(self.world.reach_airflow)
        self.try_number, self.max_tries, self.state = 0, self.plan.retries, "scheduled"

    async def attempt(self) -> Attempt:
        """Make one attempt."""
        self.try_number += 1
        self.xcoms.clear()
        version = self.plan.inputs[min(self.try_number, len(self.plan.inputs)) - 1]
        attempt = Attempt((version, self.max_tries, self.run_number), self.try_number, self.world.now())
        self.attempts.append(attempt)
        self.world.note(self, f"attempt {self.try_number} of input {version}, max_tries {self.max_tries}")
        work: Callable[[Any, Any], Any] = lambda operator, context: operator.execute(context)  # noqa: E731
        try:
            while True:
                try:
                    await self._run_worker(attempt, work)
                    break
                except TaskDeferred as deferral:
                    attempt.deferred = True
                    event = await self._defer(attempt, deferral)
                    if event is None:
                        break
                    again = deferral.kwargs or {}
                    attempt.decided_at = self.world.now()
                    # A task waits for a worker.
                    await asyncio.sleep(self.world.draw.choice([0.5, 20.0]))
                    work = lambda operator, context, event=event, again=again: operator.execute_complete(  # type: ignore[misc]  # noqa: E731
                        context, json.loads(event), **again
                    )
        except (Exception, Killed, AirflowTaskTimeout) as error:
            attempt.error = error
        attempt.ended = self.world.now()
        attempt.decided_at = attempt.decided_at or attempt.ended
        self.world.judge(self, attempt)
        return attempt

    async def _run_worker(self, attempt: Attempt, work: Callable[[Any, Any], Any]) -> None:
        operator = self.operator()
        number, self._workers = self._workers, self._workers + 1
        dies_at = self.plan.deaths[number] if number < len(self.plan.deaths) else None
        terminated_after = self.plan.kills[number] if number < len(self.plan.kills) else None
        loop = asyncio.get_running_loop()
        limit = None if attempt.deferred else self.plan.execution_timeout
        worker = attempt.worker = Worker(operator, loop, dies_at=dies_at, execution_timeout=limit)
        context: dict[str, Any] = {
            "ti": SimpleNamespace(
                **self.identity, max_tries=self.max_tries, try_number=self.try_number, xcom_push=self.xcom_push
            ),
            "dag_run": SimpleNamespace(start_date=datetime.fromtimestamp(self.run_started, tz=UTC)),
        }
        if self.world.plan.has_task_states:
            context["task_state_store"] = self.states

        def process() -> Any:
            operator.render_template_fields(context)
            value = work(operator, context)
            step("before the result is pushed")
            self.world.reach_airflow()
            self.xcoms["return_value"] = json.loads(json.dumps(value))
            return value

        self.state = "running"
        running = asyncio.create_task(worker.run(process))
        ended_by_itself = terminated_after is not None and loop.call_later(
            terminated_after, self._evict, running, worker
        )
        act = await self._until(running)
        if ended_by_itself:
            ended_by_itself.cancel()
        if act is None:
            try:
                attempt.value = await running
            except asyncio.CancelledError:
                raise Killed from None
            return
        self.state = "restarting" if act == "clear" else act
        attempt.ended_by = "clear of what runs" if act == "clear" else act
        worker.terminate()
        await asyncio.wait({running}, timeout=_TERMINATION)
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()
        self.world.check_ended_worker(self, attempt)

    def _evict(self, running: "asyncio.Task[Any]", worker: Worker) -> None:
        self.world.note(self, "the worker is asked to end")
        worker.terminate()
        asyncio.get_running_loop().call_later(_TERMINATION, running.cancel)

    async def _defer(self, attempt: Attempt, deferral: TaskDeferred) -> str | None:
        """Wait for the trigger; return its event, or nothing if a user ends the task."""
        serialized = json.dumps(deferral.trigger.serialize())
        self.world.shown.append(serialized)
        assert deferral.method_name == "execute_complete"
        self.state = "deferred"
        self.world.shown.append(json.dumps(deferral.kwargs))
        former, self._former = self._former, None
        if former is not None and self.world.plan.reuses_numbers:
            seen_acts["event of a former trigger"] += 1
            self._adopted.add(former)
            running = former
        else:
            running = self.world.triggerer.start(serialized, self.identity)
        waiting = asyncio.ensure_future(
            asyncio.wait_for(asyncio.shield(running.event), deferral.timeout.total_seconds())
        )
        act = await self._until(waiting)
        if act is not None:
            waiting.cancel()
            attempt.ended_by = act
            self.state = act
            self._former = running if act == "clear" else None
            self.kills.add(asyncio.create_task(self._kill(running, attempt)))
            return None
        try:
            event = await waiting
        except TimeoutError:
            raise TaskDeferralTimeout from None
        finally:
            self.world.triggerer.stop(running)
        self.world.shown.append(event)
        self.world.note(self, f"event {event}")
        return event

    async def _kill(self, running: "Running", attempt: Attempt) -> None:
        """Let the trigger know some time later that its task does not wait any more."""
        await asyncio.sleep(self.world.draw.choice([0.5, 12.0]))
        self._former = None
        if running in self._adopted:
            return
        states = {"failed", "success", "delete"}
        told = self.world.triggerer.is_up and await self.world.triggerer.on_kill(running)
        self.world.triggerer.stop(running)
        if told and attempt.ended_by in states and self.state in states:
            self.world.check_killed_trigger(self, running)

    async def _until(self, work: "asyncio.Future[Any]") -> str | None:
        """Wait until something is done, or until a user acts; return what the user does."""
        if not self._acts:
            await asyncio.wait({work})
            return None
        until = max(0.0, self._acts[0][0] - self.world.now())
        done, _ = await asyncio.wait({work}, timeout=until)
        if done:
            return None
        act = self._acts.pop(0)[1]
        self.world.note(self, f"a user says: {act}; the task was {self.state}")
        seen_acts[f"{act} while {self.state}"] += 1
        return act

    def operator(self) -> BasetenAsyncPredictOperator:
        """Return the operator as a new process has it."""
        from datetime import timedelta

        arguments = dict(self.plan.arguments)
        if self.plan.outputs == "result_path":
            arguments["result_path"] = f"{self.world.folder}/own/{{request_id}}.json"
        if self.plan.outputs == "webhook":
            arguments["webhook_endpoint"] = "http://localhost/webhooks/baseten_default"
        limit = self.plan.execution_timeout
        return BasetenAsyncPredictOperator(
            task_id=self.task_id,
            model_id=self.plan.model_id,
            model_input=self.world.model_input(self.wanted[0]),
            execution_timeout=None if limit is None else timedelta(seconds=limit),
            **arguments,
        )
