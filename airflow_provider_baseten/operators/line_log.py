"""Line log: collects the pieces of a text, and logs each line when it is complete."""

from collections.abc import Callable

from airflow_provider_baseten.api.texts import readable

# Number of characters. If the incomplete line at the end of the text is longer, it is logged without waiting for more.
_MAX_LINE_CHARACTERS = 65_536


class LineLog:
    """Log of a text that arrives in pieces. It logs each line when the line is complete.

    If a very long line, such as an encoded picture, arrives in many pieces, it is logged in parts.

    :param info: function that logs a format and its argument, such as ``log.info``.
    """

    def __init__(self, info: Callable[[str, str], object]) -> None:
        self._info = info
        self._line = ""

    def add(self, text: str) -> None:
        """Add the next piece of the text, and log the lines that are now complete."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._info("%s", readable(line))
        if len(self._line) > _MAX_LINE_CHARACTERS:
            self.close()

    def close(self) -> None:
        """Log the text after the last line break."""
        if self._line:
            self._info("%s", readable(self._line))
        self._line = ""
