"""What the log of a task says while a chat model streams its answer."""

import time
from collections.abc import Callable

from airflow_provider_baseten.api.openai.completion import Completion, CompletionStream
from airflow_provider_baseten.api.texts import readable

INTERVAL = 10.0


class StreamLog:
    """Listens to a stream and logs how far it is, every ten seconds and at its end.

    :param info: writes to the log: a format and its arguments.
    :param show_text: log the lines of the answer too.
    :param now: tells the time in seconds.
    """

    def __init__(
        self, info: Callable[..., object], *, show_text: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._info = info
        self._show_text = show_text
        self._now = now
        self._stream = CompletionStream()
        self._characters = 0
        self._line = ""
        self._began = self._last = now()

    def __call__(self, chunk: bytes) -> None:
        """Take further bytes of the stream."""
        text = self._stream.feed(chunk)
        self._characters += len(text)
        if self._show_text:
            *lines, self._line = (self._line + text).split("\n")
            for line in lines:
                self._info("%s", readable(line))
        if self._now() - self._last >= INTERVAL:
            self._last = self._now()
            self._log("So far")

    def close(self) -> Completion:
        """Log the rest, and return the answer as far as it came."""
        if self._line:
            self._info("%s", readable(self._line))
        self._log("In all")
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
