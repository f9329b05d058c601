"""Rate limiter of the status calls over one connection."""

import asyncio
import time

# Fraction by which the time between two calls is longer than the limit requires. A call may be delayed on its way by up
# to 0.1 s, so all calls that were sent within 1.1 s may reach the server within one second. With this fraction, their
# number is within the limit.
_JITTER = 0.1

_MAX_PAUSE_SECONDS = 600.0


class StatusCallLimiter:
    """Spaces out calls so that no second has more calls than the limit, and pauses them when the server asks for it.

    ``aiolimiter`` is not used, because its limiters allow bursts, don't respect ``Retry-After`` and belong to one event
    loop.

    :param calls_per_second: maximum number of calls in each second.
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
            # The turn alone is not enough. If the event loop was blocked past the turns of many callers, all of them
            # would send at once. Therefore each caller also waits `_spacing` seconds after the call that was sent last.
            wait = max(turn, self._taken + self._spacing) - now
            if wait <= 0:
                self._taken = now
                return
            await asyncio.sleep(wait)

    def refused(self, retry_after: float | None) -> None:
        """Pause all calls after a 429.

        :param retry_after: pause in seconds that the server asks for. If it is ``None``, the pause doubles with each
            429 in a row.
        """
        now = time.monotonic()
        if retry_after is None or not retry_after >= 0:  # `not >=` is true for NaN too.
            # During a pause no call is sent, so the refused call was sent before the pause. It does not lengthen the
            # pause.
            if now < self._resumes:
                return
            self._refusals = min(self._refusals + 1, 6)
            retry_after = 2.0**self._refusals
        self._resumes = max(self._resumes, now + min(retry_after, _MAX_PAUSE_SECONDS))
        self._reserved = max(self._reserved, self._resumes)

    def accepted(self) -> None:
        """Forget earlier 429s after a call that the server accepted."""
        self._refusals = 0
