"""The pace of the calls over one connection."""

import asyncio
import time

# Part of a second by which calls may come later than they were sent, without a second of the server holding too many.
_JITTER = 0.1

_LONGEST_PAUSE = 600.0


class Pace:
    """Spaces calls so that no second holds more than the limit, and pauses them all when the server asks for it.

    It holds nothing of an event loop, so it can outlive those who use it.

    :param calls_per_second: the limit.
    """

    def __init__(self, calls_per_second: float) -> None:
        self._spacing = (1 + _JITTER) / calls_per_second
        self._reserved = self._taken = self._resumes = float("-inf")
        self._refusals = 0

    async def turn(self) -> None:
        """Wait until the next call may be sent."""
        turn = float("-inf")
        while True:
            now = time.monotonic()
            if turn <= self._resumes:
                turn = self._reserved = max(now, self._reserved + self._spacing)
            # A loop that was blocked wakes many at once: they keep their distance all the same.
            wait = max(turn, self._taken + self._spacing) - now
            if wait <= 0:
                self._taken = now
                return
            await asyncio.sleep(wait)

    def refused(self, retry_after: float | None) -> None:
        """Pause all calls after one that the server refused because there were too many.

        :param retry_after: seconds that the server asked to wait; without it every refusal in a row doubles the pause.
        """
        now = time.monotonic()
        if retry_after is None or not retry_after >= 0:  # Also what is not a number.
            if now < self._resumes:  # It was sent before the pause.
                return
            self._refusals = min(self._refusals + 1, 6)
            retry_after = 2.0**self._refusals
        self._resumes = max(self._resumes, now + min(retry_after, _LONGEST_PAUSE))
        self._reserved = max(self._reserved, self._resumes)

    def accepted(self) -> None:
        """Note a call that the server answered."""
        self._refusals = 0
