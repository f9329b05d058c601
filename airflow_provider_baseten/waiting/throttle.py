"""Throttle: allows an action only once in a number of seconds."""

import time


class Throttle:
    """Allows each action, such as a warning about one problem, once in ``interval`` seconds.

    :param interval: shortest time between two occurrences of an action, in seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}

    def allows(self, action: str) -> bool:
        """Return whether an action may happen now. If it may, its interval begins.

        :param action: name of the action.
        """
        now = time.monotonic()
        if now - self._last.get(action, float("-inf")) < self._interval:
            return False
        self._last[action] = now
        return True
