"""Log of a streamed chat answer: its progress and, on request, its lines."""

import time
from collections.abc import Callable

from airflow_provider_baseten.api.openai.completion import Completion, CompletionStream
from airflow_provider_baseten.operators.line_log import LineLog

INTERVAL = 10.0


class StreamLog:
    """Log of one stream: its progress every ten seconds, and its totals at the end.

    :param info: function that logs a message format with its arguments, such as ``log.info``.
    :param show_text: whether the lines of the answer are logged too.
    :param now: clock that returns seconds.
    """

    def __init__(
        self, info: Callable[..., object], *, show_text: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._info = info
        self._lines = LineLog(info) if show_text else None
        self._now = now
        self._stream = CompletionStream()
        self._characters = 0
        self._began = self._last = now()

    def __call__(self, chunk: bytes) -> None:
        """Process the next bytes of the stream."""
        text = self._stream.feed(chunk)
        self._characters += len(text)
        if self._lines is not None:
            self._lines.add(text)
        if self._now() - self._last >= INTERVAL:
            self._last = self._now()
            self._log("So far")

    def close(self) -> Completion:
        """Log the last line and the totals; return the answer, which is incomplete if the stream was cut off."""
        if self._lines is not None:
            self._lines.close()
        self._log("In total")
        return self._stream.completion

    def _log(self, when: str) -> None:
        seconds = max(self._now() - self._began, 0.001)
        events = self._stream.events
        self._info(
            "%s %d events with %d characters in %.1f s (%.1f events/s).",
            when,
            events,
            self._characters,
            seconds,
            events / seconds,
        )
