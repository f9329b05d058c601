"""Clock of the emulator. A test can replace it with a clock that the test sets forward, for example by an hour."""

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol


def timestamp(seconds: float) -> str:
    """Format seconds since the epoch as Baseten's API does."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Timer(Protocol):
    """Callback that a clock calls later. The callback can be canceled before that."""

    def cancel(self) -> None:
        """Cancel the callback."""


class Clock:
    """Clock that shows the real time. The emulator measures all its delays and timeouts with one clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the running event loop after ``seconds``."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""
        elapsed = asyncio.Event()
        timer = self.call_later(seconds, elapsed.set)
        try:
            await elapsed.wait()
        finally:
            timer.cancel()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Cancel the ``async with`` block, and raise TimeoutError, if the block takes longer than ``seconds``."""
        async with asyncio.timeout(None) as scope:
            timer = self.call_later(seconds, lambda: scope.reschedule(0))
            try:
                yield
            finally:
                timer.cancel()


class ManualClock(Clock):
    """Clock that stands still until :meth:`advance` is called. Any thread can call that method.

    :param start: initial time in seconds since the epoch, by default the real time.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the running event loop when the clock has been advanced by ``seconds``."""
        self._loop = asyncio.get_running_loop()
        if seconds <= 0:
            return self._loop.call_soon(callback)
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Advance the clock by ``seconds``, and run due callbacks in the event loop, in the order of their times."""
        if self._loop is None:
            self._now += seconds
        else:
            self._loop.call_soon_threadsafe(self._advance, seconds)

    def _advance(self, seconds: float) -> None:
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._timers)
            timer.run()
        self._now = until


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        if self._callback is not None:
            self._callback()
