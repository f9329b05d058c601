"""Steps: a procedure of calls and pauses that does no I/O itself, so that it runs on a worker and in a triggerer alike.

A procedure is a generator. It yields a call and gets its result, or the error of the call is raised where it yields. It
yields a pause and goes on after it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.exceptions import BasetenError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause between two calls.

    :param seconds: duration.
    """

    seconds: float


Steps = Generator[Call[Any] | Pause, Any, T]


def run_steps(steps: Steps[T], send: Callable[[Call[Any]], Any]) -> T:
    """Run a procedure, and block until it has ended; return its result.

    :param steps: the procedure.
    :param send: function that sends a call and returns its result.
    """
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                step = next(steps)
                continue
            try:
                result = send(step)
            except BasetenError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        ended: T = end.value
        return ended


async def run_steps_async(steps: Steps[T], send: Callable[[Call[Any]], Awaitable[Any]]) -> T:
    """Run a procedure without blocking the event loop; return its result. See :func:`run_steps`."""
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                step = next(steps)
                continue
            try:
                result = await send(step)
            except BasetenError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        ended: T = end.value
        return ended
