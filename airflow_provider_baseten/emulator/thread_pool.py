"""Daemon threads for model code that blocks."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

_Work = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]


class DaemonThreadPool:
    """A pool of daemon threads, so that a model that never returns can't keep the process alive.

    :param limit: most threads; further calls wait for one.
    """

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._count = 0
        self._idle = threading.Semaphore(0)
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a thread, in the context of the caller, and return its result."""
        loop = asyncio.get_running_loop()
        result = loop.create_future()
        self._work.put((loop, result, partial(copy_context().run, function, *arguments)))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._run, name=f"model-{self._count}", daemon=True).start()
        return await result

    def stop(self) -> None:
        """Let the threads end when they are done with what they do."""
        for _ in range(self._count):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            loop, result, call = work
            settle, value = result.set_result, None
            try:
                value = call()
            except StopIteration:
                settle, value = result.set_exception, RuntimeError("StopIteration")  # A future can't carry it.
            except BaseException as exc:
                settle, value = result.set_exception, exc
            self._idle.release()
            try:
                loop.call_soon_threadsafe(_settle, result, settle, value)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                return
            del work, loop, result, call, settle, value


def _settle(result: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not result.done():
        settle(value)
