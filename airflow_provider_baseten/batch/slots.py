"""Places for requests in flight, whose number may change."""

import asyncio
from collections import deque


class Slots:
    """Limits how many requests are in flight.

    :param limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.paused = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, *, first: bool = False) -> None:
        """Wait for a free place and take it.

        :param first: before those that wait already.
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
                self.give_back()
            raise

    def give_back(self) -> None:
        """Leave a place."""
        self.taken -= 1
        self._hand_on()

    async def pause(self, seconds: float, kept: float = 0.0) -> None:
        """Leave the place for some time.

        :param kept: how many of the seconds it stays taken.
        """
        await asyncio.sleep(min(kept, seconds))
        self.give_back()
        self.paused += 1
        try:
            await asyncio.sleep(max(0.0, seconds - kept))
        finally:
            self.paused -= 1
        await self.take(first=True)

    def resize(self, limit: int) -> None:
        """Change how many there are; who is in flight beyond a smaller limit stays."""
        self.limit = limit
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self.taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.taken += 1
