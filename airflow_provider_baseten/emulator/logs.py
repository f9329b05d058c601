"""Log lines of models and training jobs, and the query that selects some of them."""

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LEVELS: tuple[LogLevel, ...] = ("DEBUG", "INFO", "WARNING", "ERROR")
_MAX_LINES = 100_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """Log line.

    :param time: time in seconds since the epoch.
    :param message: text of the line.
    :param replica: replica of the deployment, or node of the training job.
    :param level: level, ``None`` if the line has none.
    :param request_id: id of the request during which the line was written.
    """

    time: float
    message: str
    replica: str | None = None
    level: LogLevel | None = None
    request_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the line in the form of Baseten's API."""
        return {
            "timestamp": str(_microseconds(self.time) * 1000),
            "message": self.message,
            "replica": self.replica,
            "request_id": self.request_id,
            "level": self.level,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Query for log lines. All conditions must be met.

    :param start: earliest time in seconds since the epoch.
    :param end: latest time.
    :param direction: ``asc`` for the oldest first, ``desc`` for the newest first.
    :param limit: maximum number of lines.
    :param min_level: lowest level. A line without a level counts as ``INFO``.
    :param replica: replica or node.
    :param request_id: id of the request.
    :param pattern: pattern that a part of the message matches.
    :param includes: texts that the message contains, all of them.
    :param excludes: texts of which the message contains none.
    """

    start: float
    end: float
    direction: Literal["asc", "desc"] = "asc"
    limit: int = 500
    min_level: LogLevel = "DEBUG"
    replica: str | None = None
    request_id: str | None = None
    pattern: re.Pattern[str] | None = None
    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()

    def matches(self, line: LogLine) -> bool:
        """Return whether a line meets all conditions."""
        return (
            _microseconds(self.start) <= _microseconds(line.time) <= _microseconds(self.end)
            and LEVELS.index(line.level or "INFO") >= LEVELS.index(self.min_level)
            and self.replica in {None, line.replica}
            and self.request_id in {None, line.request_id}
            and (self.pattern is None or self.pattern.search(line.message) is not None)
            and all(text in line.message for text in self.includes)
            and not any(text in line.message for text in self.excludes)
        )

    def select(self, lines: Iterable[LogLine]) -> list[LogLine]:
        """Return the lines that match, in the order and at most in the number that the query asks for."""
        matching = [line for line in lines if self.matches(line)]
        return matching[: self.limit] if self.direction == "asc" else matching[::-1][: self.limit]


class Log:
    """Log of one deployment or training job. Lines can be added and read from any thread."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=_MAX_LINES)
        self._lock = threading.Lock()

    def add(self, line: LogLine) -> None:
        """Add a line. If the log is full, the oldest line is dropped."""
        with self._lock:
            self._lines.append(line)

    def lines(self) -> list[LogLine]:
        """Return all lines, the oldest first."""
        with self._lock:
            return list(self._lines)


def _microseconds(seconds: float) -> int:
    # The time of a line and the limits of a query are rounded alike, so that a line is selected by the time it shows.
    return round(seconds * 1_000_000)
