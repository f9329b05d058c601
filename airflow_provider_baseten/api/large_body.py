"""Bodies of answers that are too large for memory, kept in an unnamed temporary file."""

import codecs
import io
import os
import tempfile
from typing import Any, BinaryIO

_BUFFER_BYTES = 256 * 1024
_PIECE_BYTES = 1 << 20


class LargeBody:
    """A body in a temporary file that has no name and is gone with this object, or with the process.

    Written once, then read, also several times at once. It can't be pickled and belongs to one process.

    :raises OSError: the folder for temporary files (``TMPDIR``) is full or can't be written; also from :meth:`append`.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as this object.
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(data)

    def open(self) -> BinaryIO:
        """Return a file to read it from its start; closing it leaves the body as it is."""
        return io.BufferedReader(_Reader(self), _BUFFER_BYTES)

    def read(self) -> bytes:
        """Return all of it, in memory."""
        with self.open() as file:
            return file.read()

    def is_utf8(self) -> bool:
        """Tell whether all of it is text in UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            with self.open() as file:
                while piece := file.read(_PIECE_BYTES):
                    decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from a place on; none after the end."""
        return os.pread(self._file.fileno(), count, offset)


class _Reader(io.RawIOBase):
    def __init__(self, body: LargeBody) -> None:
        self._body = body
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._body.read_at(self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
