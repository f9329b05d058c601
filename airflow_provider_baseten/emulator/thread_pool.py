"""Daemon threads for model code that blocks."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

_Call = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]


class DaemonThreadPool:
    """Pool of daemon threads. The process can exit even if a model in a daemon thread never returns.

    :param limit: maximum number of threads. If all are busy, further calls wait for a free thread.
    """

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._count = 0
        self._idle = threading.Semaphore(0)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a thread, with a copy of the caller's ``contextvars``, and return the result."""
        loop = asyncio.get_running_loop()
        result = loop.create_future()
        self._calls.put((loop, result, partial(copy_context().run, function, *arguments)))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._run, name=f"model-{self._count}", daemon=True).start()
        return await result

    def stop(self) -> None:
        """Tell the threads to end after all running and waiting calls, and return without waiting for the threads."""
        for _ in range(self._count):
            self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            loop, result, call = item
            set_result, value = result.set_result, None
            try:
                value = call()
            except StopIteration:
                # A future of asyncio does not accept StopIteration, so the exception becomes a RuntimeError.
                set_result, value = result.set_exception, RuntimeError("StopIteration")
            except BaseException as exc:
                set_result, value = result.set_exception, exc
            self._idle.release()
            try:
                loop.call_soon_threadsafe(_set_unless_done, result, set_result, value)
            except RuntimeError:  # The event loop is closed, so the result is not needed.
                return
            del item, loop, result, call, set_result, value  # An idle thread must not keep the output in memory.


def _set_unless_done(result: asyncio.Future[Any], set_result: Callable[[Any], None], value: Any) -> None:
    if not result.done():
        set_result(value)
