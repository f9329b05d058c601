"""Line log: collects the pieces of a text, and logs each line when it is complete."""

from collections.abc import Callable

from airflow_provider_baseten.api.texts import readable

# Length in characters. A longer line is logged in parts.
_MAX_LINE_CHARACTERS = 65_536


class LineLog:
    """Log of the lines of a text as they arrive; a very long line, such as an encoded picture, is logged in parts.

    :param info: function that logs a format and its argument, such as ``log.info``.
    """

    def __init__(self, info: Callable[[str, str], object]) -> None:
        self._info = info
        self._line = ""

    def add(self, text: str) -> None:
        """Log the lines that the next piece of the text completes."""
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
