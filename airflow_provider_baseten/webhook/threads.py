"""Threads for blocking calls from an event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class WorkerThreads:
    """Thread pool of fixed size. A caller waits for a thread, and for the end of the call, only until its deadline.

    A call that hangs occupies its thread, but does not block the caller.

    :param number: number of threads.
    """

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)
        self._executor = ThreadPoolExecutor(number, thread_name_prefix="baseten-webhook")

    async def run(self, call: Callable[[], T], *, deadline: float, queue: float | None = None) -> T:
        """Run a call in a thread and return its result. After the deadline the call continues in its thread.

        :param deadline: when to stop waiting, in the event loop's time.
        :param queue: longest wait for a free thread, in seconds; by default the wait lasts until the deadline.
        :raises TimeoutError: there was no free thread or no result in time.
        """
        async with asyncio.timeout_at(deadline):
            async with asyncio.timeout(queue):
                await self._free.acquire()
            loop = asyncio.get_running_loop()

            def ended(_: "Future[T]") -> None:
                with suppress(RuntimeError):  # The event loop may be closed.
                    loop.call_soon_threadsafe(self._free.release)

            future = self._executor.submit(call)
            future.add_done_callback(ended)
            return await asyncio.wrap_future(future)
