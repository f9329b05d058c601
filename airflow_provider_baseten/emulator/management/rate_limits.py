"""Rate limits of the management API: calls of one API key to one endpoint in a window of time."""

import math
import time
from collections import deque

from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.errors import GatewayError


class RateLimits:
    """Times of recent calls.

    A call leaves the window when its time has passed on the emulator's clock or in reality, so that a test whose clock
    stands still can poll.

    :param clock: source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[tuple[int, str], deque[tuple[float, float]]] = {}

    def check(self, key: int, endpoint: str, count: int, seconds: float) -> None:
        """Count a call.

        :param key: value that stands for the API key.
        :param endpoint: method and path of the route.
        :param count: maximum number of calls in the window.
        :param seconds: length of the window.
        :raises GatewayError: 429 if there were too many calls. This call does not count then.
        """
        now, real_now = self._clock.now(), time.monotonic()
        calls = self._calls.setdefault((key, endpoint), deque())
        while calls and (calls[0][0] <= now - seconds or calls[0][1] <= real_now - seconds):
            calls.popleft()
        if len(calls) >= count:
            retry_after = max(1, math.ceil(calls[0][0] + seconds - now))
            message = "Rate limit exceeded. Please try again later."
            raise GatewayError(429, message, fields={"retry_after": retry_after})
        calls.append((now, real_now))
