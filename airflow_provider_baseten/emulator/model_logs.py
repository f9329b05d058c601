"""Logs of models: what a model's code logs or prints while it handles a request goes to the log of its deployment."""

import builtins
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.logs import Log, LogLevel, LogLine

_OWN_LOGGERS = "airflow_provider_baseten.emulator"
_target: ContextVar["LogTarget | None"] = ContextVar("log_target", default=None)


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where lines of the current request go.

    :param log: log of the deployment.
    :param clock: source of time.
    :param replica: id of the replica.
    :param request_id: id of the request.
    """

    log: Log
    clock: Clock
    replica: str
    request_id: str | None

    def add(self, message: str, level: LogLevel | None) -> None:
        """Add a line."""
        self.log.add(LogLine(self.clock.now(), message, self.replica, level, self.request_id))


@contextmanager
def collect_logs(target: LogTarget) -> Iterator[None]:
    """Send lines to a log that are written in the block, and in tasks and emulator threads that the block starts."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


class LogCollection:
    """Collection of the records of all loggers while at least one emulator runs.

    Records are seen when they are made. A handler at the root logger would see them too, but as long as the root logger
    has a handler, ``logging.basicConfig`` does nothing, and a program without handlers prints no warnings.

    Only records that the loggers of this process accept are made: with the default level of the root logger, these are
    warnings and errors.
    """

    def __init__(self) -> None:
        self._users = 0
        self._make_record: Callable[..., logging.LogRecord] = logging.LogRecord
        self._format = logging.Formatter().format

    def start(self) -> None:
        """Begin to collect records."""
        self._users += 1
        if self._users == 1:
            self._make_record = logging.getLogRecordFactory()
            logging.setLogRecordFactory(self._collect)

    def stop(self) -> None:
        """Stop when no emulator needs the records any more."""
        self._users -= 1
        if not self._users:
            logging.setLogRecordFactory(self._make_record)

    def _collect(self, *arguments: Any, **options: Any) -> logging.LogRecord:
        """Make a record, and add it to the log of the current request's deployment.

        Of the emulator's own records, only those with an exception of the model are added.
        """
        record = self._make_record(*arguments, **options)
        target = _target.get()
        # `logging.makeLogRecord` makes a record without a name first, and fills it afterwards: it is a copy.
        is_copy = not isinstance(record.name, str)
        if target is not None and not is_copy and (record.exc_info or not record.name.startswith(_OWN_LOGGERS)):
            try:
                target.add(self._format(record), _level(record.levelno))
            except Exception as error:  # As with every handler, a wrong log call must not break the model.
                target.add(f"A log record could not be formatted: {type(error).__name__}", "ERROR")
        return record


COLLECTION = LogCollection()


def model_print(*values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, **options: Any) -> None:
    """Print like the built-in function. Text for the standard output also goes to the log of the deployment."""
    target = _target.get()
    if target is not None and (file is None or file is sys.stdout or file is sys.stderr):
        text = (" " if sep is None else sep).join(map(str, values))
        for line in text.splitlines() or [""]:
            target.add(line, None)
    write: Callable[..., None] = builtins.print
    write(*values, sep=sep, end=end, file=file, **options)


def _level(number: int) -> LogLevel:
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARNING"
    return "INFO" if number >= logging.INFO else "DEBUG"
