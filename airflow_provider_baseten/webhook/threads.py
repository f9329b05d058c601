"""Blocking calls beside an event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """A few threads. A call that hangs keeps its own, not the caller, and calls that find none wait in the loop.

    :param number: how many.
    """

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)
        self._executor = ThreadPoolExecutor(number, thread_name_prefix="baseten-webhook")

    async def run(self, call: Callable[[], T], *, deadline: float, queue: float | None = None) -> T:
        """Return what the call returns. The call goes on when nobody waits for it any more.

        :param deadline: when to stop waiting, in the event loop's time.
        :param queue: seconds to wait for a free thread, by default until the deadline.
        :raises TimeoutError: it is too late.
        """
        async with asyncio.timeout_at(deadline):
            async with asyncio.timeout(queue):
                await self._free.acquire()
            loop = asyncio.get_running_loop()

            def ended(_: "Future[T]") -> None:
                with suppress(RuntimeError):  # The loop may have ended first.
                    loop.call_soon_threadsafe(self._free.release)

            future = self._executor.submit(call)
            future.add_done_callback(ended)
            return await asyncio.wrap_future(future)
