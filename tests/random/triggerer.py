"""A triggerer: runs triggers from their serialized form, dies, is restarted, freezes and wakes up."""

import asyncio
import importlib
import json
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from airflow_provider_baseten.triggers.pollers import new_poller
from airflow_provider_baseten.waiting.poller import Poller

_PROCESS: ContextVar[dict[str, Poller]] = ContextVar("pollers")


def poller_of(baseten_conn_id: str) -> Poller:
    """Return the poller of a connection in the triggerer that runs now."""
    pollers = _PROCESS.get()
    if baseten_conn_id not in pollers:
        pollers[baseten_conn_id] = new_poller(baseten_conn_id)
    return pollers[baseten_conn_id]


class Running:
    """A trigger that waits on behalf of a deferred task.

    :param serialized: class path and arguments, as Airflow stores them.
    :param identity: the task instance.
    """

    def __init__(self, serialized: str, identity: dict[str, Any]) -> None:
        self.event: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.serialized = serialized
        self.identity = identity
        self.trigger: Any = None
        self.task: asyncio.Task[None] | None = None


class Triggerer:
    """One triggerer process after the other."""

    def __init__(self) -> None:
        self.running: set[Running] = set()
        self.is_up = True
        self.absences: list[tuple[float, float]] = []
        self._pollers: dict[str, Poller] = {}
        self._old: set[asyncio.Task[None]] = set()

    def start(self, serialized: str, identity: dict[str, Any]) -> Running:
        """Run a trigger; its event arrives in ``event``."""
        running = Running(serialized, identity)
        self.running.add(running)
        if self.is_up:
            self._run(running)
        return running

    def stop(self, running: Running) -> None:
        """Forget a trigger whose task has gone on or does not wait any more."""
        self.running.discard(running)
        if running.task is not None:
            running.task.cancel()

    async def on_kill(self, running: Running) -> bool:
        """Tell a trigger that it is killed; return whether it did what it does then."""
        if running.trigger is None:
            return False
        _PROCESS.set(self._pollers)
        return await _tell(running.trigger)

    async def restart(self, absence: float) -> None:
        """Die, and come back after so many seconds."""
        began = asyncio.get_running_loop().time()
        self._end_tasks()
        self._pollers = {}
        self.is_up = False
        await asyncio.sleep(absence)
        self._back_since(began)

    async def freeze(self, absence: float) -> None:
        """Stop doing anything. Another triggerer takes the triggers; later this one finds that they were taken away."""
        began = asyncio.get_running_loop().time()
        self._end_tasks()
        frozen = [(running, running.trigger) for running in self.running if running.trigger is not None]
        self._pollers = {}
        self.is_up = False
        await asyncio.sleep(absence)
        self._back_since(began)
        await asyncio.sleep(absence)
        _PROCESS.set({})
        for _, trigger in frozen:
            await _tell(trigger)

    def _back_since(self, began: float) -> None:
        self.is_up = True
        self.absences.append((began, asyncio.get_running_loop().time()))
        for running in self.running:
            self._run(running)

    def _end_tasks(self) -> None:
        for running in self.running:
            if running.task is not None:
                running.task.cancel()

    def _run(self, running: Running) -> None:
        _PROCESS.set(self._pollers)
        path, arguments = json.loads(running.serialized)
        module, _, name = path.rpartition(".")
        running.trigger = getattr(importlib.import_module(module), name)(**arguments)
        running.trigger.task_instance = SimpleNamespace(**running.identity)
        running.task = asyncio.create_task(self._wait(running, running.trigger))

    async def _wait(self, running: Running, trigger: Any) -> None:
        try:
            async for event in trigger.run():
                if not running.event.done():
                    running.event.set_result(json.dumps(event.payload))
        except Exception as error:  # Airflow then fails the task.
            if not running.event.done():
                running.event.set_exception(error)


async def _tell(trigger: Any) -> bool:
    try:
        await trigger.on_kill()
    except Exception:  # Airflow writes it into a log.
        return False
    return True
