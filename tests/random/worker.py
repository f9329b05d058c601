"""A worker process: blocking code that runs beside all else, can be killed at every step, and is told to end."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import greenback
from airflow.sdk.exceptions import AirflowTaskTimeout

CURRENT: ContextVar["Worker | None"] = ContextVar("worker", default=None)

# Where workers have died in all lives so far: a test of crashes must have seen all of them.
deaths: Counter[str] = Counter()


class Killed(BaseException):
    """SIGKILL: nothing of the process runs any more."""


class Worker:
    """Runs one part of an attempt, ``execute`` or ``execute_complete``, as a process of its own.

    :param operator: what it runs.
    :param loop: the loop.
    :param dies_at: the number of the step at which it dies.
    :param execution_timeout: seconds after which Airflow interrupts the task.
    """

    def __init__(
        self, operator: Any, loop: asyncio.AbstractEventLoop, *, dies_at: int | None, execution_timeout: float | None
    ) -> None:
        self.operator = operator
        self.terminated = False
        self.interrupted = False
        self.died = False
        self.troubles: set[str] = set()
        self.began = loop.time()
        self._loop = loop
        self._steps = 0
        self._dies_at = dies_at
        self._alarm = loop.time() + execution_timeout if execution_timeout else float("inf")
        self._signalled = asyncio.Event()

    async def run(self, work: Callable[[], Any]) -> Any:
        await greenback.ensure_portal()
        CURRENT.set(self)
        return work()

    def terminate(self) -> None:
        """Ask the process to end: Airflow calls ``on_kill`` at once, and the process continues until it is killed."""
        self._signalled.set()

    def step(self, name: str) -> None:
        """Note that the process is about to do something that others can see, or has done it."""
        self._steps += 1
        if self._steps == self._dies_at:
            deaths[name] += 1
            self.died = True
            raise Killed

    def sleep(self, seconds: float) -> None:
        self.step("wait")
        end = self._loop.time() + seconds
        while True:
            wake = min(end, self._alarm)
            greenback.await_(self._wait(wake - self._loop.time()))
            if self._signalled.is_set():
                self._signalled.clear()
                self.terminated = True
                self.operator.on_kill()
            if self._loop.time() >= self._alarm:
                self._alarm = float("inf")
                self.interrupted = True
                raise AirflowTaskTimeout("The task took too long.")
            if self._loop.time() >= end:
                return

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._signalled.wait()
        except TimeoutError:
            pass


def step(name: str) -> None:
    """Let the process that runs now, if one does, take a step."""
    if (worker := CURRENT.get()) is not None:
        worker.step(name)
