"""Throttle: lets an action happen only once in a number of seconds."""

import time


class Throttle:
    """Lets each action happen once in ``interval`` seconds, such as a warning about one problem.

    :param interval: seconds between two times.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}

    def allows(self, action: str) -> bool:
        """Return whether an action may happen now. If it may, the interval begins again.

        :param action: name of the action.
        """
        now = time.monotonic()
        if now - self._last.get(action, float("-inf")) < self._interval:
            return False
        self._last[action] = now
        return True
