"""Server-sent events, parsed as in the WHATWG's HTML standard.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stream.

    :param name: type of the event; empty if the server gives none.
    :param data: data lines of the event, joined by line feeds.
    """

    name: str
    data: str


class EventStream:
    """Parser of an event stream whose bytes may be split anywhere.

    The fields ``id`` and ``retry`` are ignored, because their only use is to reconnect.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # Pieces of the line that has not ended.
        self._after_cr = False
        self._at_start = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """Read the next bytes.

        :returns: the events whose end is in these bytes.
        """
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        first, *others = _LINE_END.split(chunk)
        self._line.append(first)
        if not others:
            return []
        lines = [b"".join(self._line), *others[:-1]]
        self._line = [others[-1]]
        return [event for line in lines if (event := self._read(line))]

    def close(self) -> list[Event]:
        """Return a list with the last event if no empty line came after it, otherwise an empty list.

        By the standard such an event is dropped. It is returned here because some servers omit the last empty line.
        """
        last, self._line = b"".join(self._line), []
        events = [self._read(line) for line in (last, b"")]
        return [event for event in events if event]

    def _read(self, line: bytes) -> Event | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._end_event()
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None  # A line that begins with a colon is a comment.

    def _end_event(self) -> Event | None:
        event = Event(self._name, "\n".join(self._data)) if self._data or self._name else None
        self._name, self._data = "", []
        return event
