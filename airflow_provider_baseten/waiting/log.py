"""Log lines of a wait for async requests: changes of status, a heartbeat, and the end of the wait."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.waiting.state import Observation, Outcome

# If nothing was logged for this number of seconds, a line says that the wait continues.
HEARTBEAT = 300.0
# A wait for more than `MAX_NAMED` requests logs counts instead of ids, at most once in `COUNTS_INTERVAL` seconds.
MAX_NAMED = 5
COUNTS_INTERVAL = 60.0

_NO_STATUS = "without a status yet"


class Log(Protocol):
    """Logger of a task or a trigger."""

    def info(self, event: str, *args: Any) -> Any:
        """Log a line of the level INFO."""

    def warning(self, event: str, *args: Any) -> Any:
        """Log a line of the level WARNING."""


class WaitLog:
    """Logs the progress of a wait.

    For up to five requests, each change of a status gets a line. For more requests, a line says how many requests have
    each status.

    :param log: log of the task or the trigger.
    :param request_ids: ids of the requests.
    :param began: start of the wait in seconds since the epoch.
    :param logged: return value of :meth:`logged` in an earlier process, if this process continues the wait of the
        earlier process.
    """

    #: Sentence on a problem with status calls or with the result store; it is added to the next line of the log.
    problem: str = ""

    def __init__(
        self, log: Log, request_ids: Collection[str], *, began: float, logged: Mapping[str, Any] | None = None
    ) -> None:
        self.began = began
        self._log = log
        self._count = len(request_ids)
        self._name = name_of(request_ids)
        self._is_named = self._count <= MAX_NAMED
        self._statuses: dict[str, str] = dict((logged or {}).get("statuses", {}))
        self._changed: dict[str, None] = {}
        self._logged_at = float((logged or {}).get("at", began))
        #: When the first request was seen to run, in seconds since the epoch; ``None`` if this process saw none.
        self.running_at: float | None = None

    @property
    def statuses(self) -> dict[str, int]:
        """Number of requests by status, in words."""
        counts = Counter(self._statuses.values())
        counts[_NO_STATUS] = self._count - counts.total()
        return dict(+counts)

    def note(self, request_id: str, seen: Observation) -> bool:
        """Remember an observation of a request, and return whether the status of the request has changed."""
        status = _status_words(seen)
        if status is None or self._statuses.get(request_id) == status:
            return False
        self._statuses[request_id] = status
        if self.running_at is None and seen.status == AsyncStatus.IN_PROGRESS:
            self.running_at = time.time()
        self._changed[request_id] = None
        self.problem = ""
        return True

    def write(self, now: float) -> None:
        """Log the changes of status. After `HEARTBEAT` seconds without a line, log that the wait continues.

        :param now: seconds since the epoch.
        """
        if self._changed and self._is_named:
            for request_id in self._changed:
                status = self._statuses[request_id]
                self._log.info("Async request %s after %s: %s.", request_id, duration(now - self.began), status)
        elif self.pause(now) > 0:
            return
        elif self._changed:
            self._log.info("%s after %s: %s.", self._name, duration(now - self.began), self._counts())
        else:
            took, problem = duration(now - self.began), f" {self.problem}" if self.problem else ""
            self._log.info("Still waiting for %s after %s: %s.%s", self._name, took, self._counts(), problem)
        self._changed.clear()
        self._logged_at = now

    def pause(self, now: float) -> float:
        """Return the seconds until the next line is due."""
        interval = HEARTBEAT if not self._changed else 0.0 if self._is_named else COUNTS_INTERVAL
        return max(0.0, self._logged_at + interval - now)

    def logged(self) -> dict[str, Any]:
        """Return what was logged so far, for the process that continues the wait."""
        return {"at": self._logged_at, "statuses": self._statuses if self._is_named else {}}

    def _counts(self) -> str:
        counts = self.statuses
        if self._count == 1:
            return next(iter(counts))
        return ", ".join(f"{counts[status]:,} {status}" for status in sorted(counts))


def log_wait_end(log: Log, ends: Mapping[str, str], seconds: float | None) -> None:
    """Log the end of a wait in one line.

    :param ends: words of :func:`end_words`, by request id.
    :param seconds: duration of the wait; ``None`` if it is not known.
    """
    counts = Counter(ends.values())
    words = ", ".join(counts if len(ends) == 1 else (f"{count:,} {end}" for end, count in counts.items()))
    took = "" if seconds is None else f" {duration(seconds)}"
    log.info("Waited%s for %s: %s.", took, name_of(ends), words)


def end_words(outcome: Outcome, *, is_delivered: bool, is_stored: bool) -> str:
    """Return words that say how the wait for one request ended.

    :param is_delivered: whether the result is in the result store.
    :param is_stored: whether the model stores its output itself.
    """
    match outcome:
        case Outcome.ENDED if is_delivered:
            return "result received by webhook"
        case Outcome.ENDED if is_stored:
            return "succeeded, output stored by the model"
        case Outcome.ENDED:
            return "succeeded; no webhook was named, so no output was delivered"
        case Outcome.FAILED:
            return "ended without success"
        case Outcome.LOST:
            return "outcome unknown"
        case Outcome.TIMEOUT:
            return "no result in time"


def log_cancel(log: Log, request_id: str, result: bool | Exception) -> bool:
    """Log the result of a cancel call, and return whether the request was cancelled.

    :param result: whether Baseten has cancelled the request, or the error of the call.
    """
    if isinstance(result, Exception):
        words = error_words(result)
        log.warning("Async request %s may still run: it could not be cancelled. %s", request_id, words)
    elif result:
        log.info("Async request %s was cancelled.", request_id)
    else:
        log.info("Async request %s could not be cancelled: it is no longer queued.", request_id)
    return result is True


def error_words(error: Exception) -> str:
    """Return the text of an error. If the error is not from this package, return only its type.

    The text of such an error may hold secrets.
    """
    return str(error) if isinstance(error, BasetenError) else type(error).__name__


def name_of(request_ids: Collection[str]) -> str:
    """Return words for requests: the id if there is one request, otherwise the number of requests."""
    first = next(iter(request_ids), "")
    return f"async request {first}" if len(request_ids) == 1 else f"{len(request_ids):,} async requests"


def duration(seconds: float) -> str:
    """Return a duration as text: ``45 s``, ``12 min``, ``5 h 3 min``."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _status_words(seen: Observation) -> str | None:
    """Return the status of a request as words; ``None`` if it is not known."""
    if seen.delivered:
        return "result received"
    if seen.gone:
        return "not known to Baseten"
    return None if seen.status is None else seen.status.lower().replace("_", " ")
