"""Schedule: a queue of items in the order in which they are due."""

import asyncio
import heapq
import itertools
import time
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Schedule(Generic[Item]):
    """Items ordered by the time at which they are due. Only one consumer may call :meth:`next`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    def add(self, item: Item, delay: float) -> None:
        """Add an item that is due after ``delay`` seconds."""
        heapq.heappush(self._heap, (time.monotonic() + delay, next(self._numbers), item))
        if self._heap[0][2] is item:
            self._changed.set()

    async def next(self) -> Item:
        """Wait until the next item is due, and return it."""
        while True:
            delay = self._heap[0][0] - time.monotonic() if self._heap else None
            if delay is not None and delay <= 0:
                return heapq.heappop(self._heap)[2]
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()
