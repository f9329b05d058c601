"""The clock of this machine, as far as others confirm it."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_provider_baseten.api.webhook import TOLERANCE, is_recent
from airflow_provider_baseten.exceptions import BasetenInputError

# Seconds between two looks at another clock, and between two that an unlikely delivery may cause.
_PERIOD = 600.0
_HURRIED_PERIOD = 30.0
_TIMEOUT = 2.0

_log = logging.getLogger(__name__)


def date_of_host(url: str) -> float | None:
    """Return the time that a web server tells, in seconds since the epoch; ``None`` if it tells none. Blocks.

    No key is sent. An answer of any status will do.
    """
    import requests

    def without_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request  # Otherwise a .netrc file would be read.

    try:
        answer = requests.head(url, timeout=_TIMEOUT, allow_redirects=False, auth=without_key)
        # One with an age comes from a cache, and its date from the past.
        return None if "age" in answer.headers else parsedate_to_datetime(answer.headers["date"]).timestamp()
    except Exception:  # No connection, no date, or none that can be read.
        return None


class Clock:
    """Judges the times of deliveries, and notices when this machine's own time is wrong.

    Another clock is looked at once in a while. If it shows that this machine's is off, times are judged by the other.

    :param tolerance: seconds that a delivery's time may differ from now.
    :param ask: returns the time of the server behind a URL; by default no other clock is looked at.
    :param now: this machine's clock, in seconds since the epoch.
    """

    def __init__(
        self,
        *,
        tolerance: float = TOLERANCE,
        ask: Callable[[str], float | None] = lambda url: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.now = now
        self._tolerance = tolerance
        self._ask = ask
        self._ahead: float | None = None
        self._doubtful: bool | None = None
        self._asked_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """``ok``, ``off``, or ``unknown`` as long as there was nothing to compare it with."""
        if self._ahead is not None:
            return "off" if abs(self._ahead) > self._tolerance else "ok"
        return {None: "unknown", True: "off", False: "ok"}[self._doubtful]

    def is_recent(self, moment: str | None, *, at: float) -> bool:
        """Tell whether a time is near enough to another, by this machine's clock or by the better one.

        :param moment: ISO 8601.
        :param at: seconds since the epoch by this machine's clock, such as the arrival of a delivery.
        """
        clocks = {at, at + (self._ahead or 0.0)}
        return any(is_recent(moment, now=clock, tolerance=self._tolerance) for clock in clocks)

    def judge(self, moment: str | None, url: str) -> bool:
        """Tell whether a signed delivery that has just arrived is recent, and learn from it. Blocks if it is not.

        :param url: where a server with a right clock is.
        """
        recent = self.is_recent(moment, at=self.now())
        if not recent:
            self.compare(url, period=_HURRIED_PERIOD)
            recent = self.is_recent(moment, at=self.now())
        self._doubtful = not is_recent(moment, now=self.now(), tolerance=self._tolerance)
        return recent

    def compare_soon(self, find_url: Callable[[], str | None]) -> None:
        """Look at another clock in the background, unless that was done lately.

        :param find_url: returns where a server with a right clock is, ``None`` if that is not known; may block.
        """

        def compare() -> None:
            with suppress(Exception):  # The place where connections are kept is down.
                if url := find_url():
                    self.compare(url)

        if time.monotonic() - self._asked_at >= _PERIOD:
            threading.Thread(target=compare, name="baseten-clock", daemon=True).start()

    def compare(self, url: str, *, period: float = _PERIOD) -> None:
        """Look at another clock, unless that was done lately or is being done. Blocks for a few seconds at most.

        :param url: where a server with a right clock is.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._asked_at < period:
                return
            self._asked_at = time.monotonic()
            before = self.now()
            there = self._ask(url)
            after = self.now()
        finally:
            self._lock.release()
        if there is None:
            return
        # Headers tell whole seconds.
        self._ahead = ahead = there + 0.5 - (before + after) / 2
        if abs(ahead) > self._tolerance:
            _log.error(
                "The clock of this machine is off by %.0f seconds: it says %s, and the server of the connection says "
                "%s. Set it right. Until then the times of webhook deliveries are judged by the other clock.",
                abs(ahead),
                words(after),
                words(there),
            )


def seconds_of(moment: str | None) -> float | None:
    """Read a time in ISO 8601, in UTC unless it names an offset; ``None`` if it is none."""
    try:
        read = datetime.fromisoformat(moment or "")
        # In UTC it may be in the year 0 or 10000, which nothing can be done with.
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def configured_tolerance() -> float:
    """Return ``[baseten] webhook_tolerance_seconds``, by default five minutes.

    :raises BasetenInputError: it is no number of seconds.
    """
    from airflow_provider_baseten.compat import conf

    value = conf.get("baseten", "webhook_tolerance_seconds", fallback=None) or TOLERANCE
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BasetenInputError(
            f"[baseten] webhook_tolerance_seconds={value!r:.40} is not a number of seconds above 0."
        )
    return seconds


def words(seconds: float) -> str:
    """Return a time as people and logs write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
