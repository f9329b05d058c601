"""Clock that checks the times of deliveries. It is compared with the clock of a server."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_provider_baseten.api.webhook import TOLERANCE, is_recent

# Minimum seconds between two comparisons with a server's clock. `_HURRIED_PERIOD` applies if a verified delivery seems
# too old, otherwise `_PERIOD` applies.
_PERIOD = 600.0
_HURRIED_PERIOD = 30.0
_TIMEOUT = 2.0

_log = logging.getLogger(__name__)


def fetch_server_time(url: str) -> float | None:
    """Return the time in a web server's ``Date`` header, in seconds since the epoch; ``None`` if unknown. Blocks.

    The request has no API key, and a response with any HTTP status is accepted.
    """
    import requests

    def without_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request  # Without `auth`, the requests library would read a .netrc file.

    try:
        response = requests.head(url, timeout=_TIMEOUT, allow_redirects=False, auth=without_key)
    except Exception:  # No connection, or a URL that is not valid.
        return None
    return time_of_headers(response.headers)


def time_of_headers(headers: Mapping[str, str]) -> float | None:
    """Return the time at which a server has responded, in seconds since the epoch; ``None`` if unknown.

    :param headers: headers of the response, in which names are found in lower case.
    """
    if "age" in headers:  # The response comes from a cache, and its Date is old.
        return None
    try:
        moment = parsedate_to_datetime(headers["date"])
        # The zone -0000 is UTC too, but the datetime then has no zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


class DeliveryClock:
    """Clock that decides whether a delivery is recent, and notices when this machine's time is wrong.

    This machine's clock is compared with a server's from time to time. If the two differ, a delivery counts as recent
    if it is recent by at least one of them.

    :param tolerance: seconds by which a delivery's time may differ from now.
    :param ask: function that returns the time of the server behind a URL; by default there is no comparison.
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
        """State of this machine's clock: ``ok`` or ``off``; ``unknown`` before the first comparison or delivery."""
        if self._ahead is not None:
            return "off" if abs(self._ahead) > self._tolerance else "ok"
        return {None: "unknown", True: "off", False: "ok"}[self._doubtful]

    def is_recent(self, moment: str | None, *, at: float) -> bool:
        """Return whether two times are close enough to each other.

        This machine's clock may be wrong. So if its difference from the clock of the connection's server is known,
        ``at`` is also compared as that clock would have shown it. One of the two comparisons has to succeed.

        :param moment: time in ISO 8601, such as the time at which a delivery was sent.
        :param at: time in seconds since the epoch by this machine's clock, such as the arrival of a delivery.
        """
        clocks = {at, at + (self._ahead or 0.0)}
        return any(is_recent(moment, now=clock, tolerance=self._tolerance) for clock in clocks)

    def judge(self, moment: str | None, url: str) -> bool:
        """Return whether a verified delivery that arrives now was sent recently. Update :attr:`state` accordingly.

        If the delivery seems old, this machine's clock is first compared with a server's, in case it is wrong. This may
        block for some seconds.

        :param moment: time at which the delivery was sent, in ISO 8601.
        :param url: URL of the server.
        """
        recent = self.is_recent(moment, at=self.now())
        if not recent:
            self.compare(url, period=_HURRIED_PERIOD)
            recent = self.is_recent(moment, at=self.now())
        self._doubtful = not is_recent(moment, now=self.now(), tolerance=self._tolerance)
        return recent

    def compare_soon(self, find_url: Callable[[], str | None]) -> None:
        """Compare this machine's clock with a server's in the background, unless this was done in the last ten minutes.

        :param find_url: function that returns the URL of the server, ``None`` if it is not known; may block.
        """

        def compare() -> None:
            with suppress(Exception):  # The database or secrets backend may be down.
                if url := find_url():
                    self.compare(url)

        if time.monotonic() - self._asked_at >= _PERIOD:
            threading.Thread(target=compare, name="baseten-clock", daemon=True).start()

    def compare(self, url: str, *, period: float = _PERIOD) -> None:
        """Compare this machine's clock with that of a server. Blocks for some seconds.

        Do nothing if another thread is comparing, or if the last comparison was made less than ``period`` ago.

        :param url: URL of the server.
        :param period: minimum seconds between two comparisons.
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
        # The Date header is cut to whole seconds, so on average the server's time is half a second later.
        self._ahead = ahead = there + 0.5 - (before + after) / 2
        if abs(ahead) > self._tolerance:
            _log.error(
                "The clock of this machine is off by %.0f seconds: it says %s, and the server of the connection says "
                "%s. Correct it. Until then the times of webhook deliveries are compared with the server's clock too.",
                abs(ahead),
                format_time(after),
                format_time(there),
            )


def parse_time(moment: str | None) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch; ``None`` if invalid. A time without an offset is in UTC."""
    try:
        read = datetime.fromisoformat(moment or "")
        # A time that falls into the year 0 or 10000 in UTC is invalid too, because its conversion to UTC fails.
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def format_time(seconds: float) -> str:
    """Return a time in ISO 8601, for logs."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
