"""Slots for requests in flight; their number may change during a run."""

import asyncio
from collections import deque


class Slots:
    """Limits how many requests are in flight.

    :param limit: maximum number of requests in flight.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.paused = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, first: bool = False) -> None:
        """Wait for a free slot and take it.

        :param first: whether to wait in front of all others.
        """
        if self.taken < self.limit and not self._waiting:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Free a slot."""
        self.taken -= 1
        self._fill_free_slots()

    async def pause(self, seconds: float, kept: float = 0.0) -> None:
        """Wait before a retry. The caller's slot is freed during the wait, and a slot is taken again afterwards.

        :param seconds: how long to wait.
        :param kept: seconds after which the slot is freed; by default it is freed at once.
        """
        await asyncio.sleep(min(kept, seconds))
        self.release()
        self.paused += 1
        try:
            await asyncio.sleep(max(0.0, seconds - kept))
        finally:
            self.paused -= 1
        await self.acquire(first=True)

    def resize(self, limit: int) -> None:
        """Change the limit. Requests in flight beyond a smaller limit are not interrupted."""
        self.limit = limit
        self._fill_free_slots()

    def _fill_free_slots(self) -> None:
        while self._waiting and self.taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.taken += 1
