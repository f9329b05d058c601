"""Response bodies that are too large for memory, kept in an unnamed temporary file."""

import codecs
import io
import os
import tempfile
from typing import Any, BinaryIO

_BUFFER_BYTES = 256 * 1024
_PIECE_BYTES = 1 << 20


class LargeBody:
    """Body in a temporary file without a name. The file is deleted with this object, or when the process ends.

    The body is written once and can then be read any number of times, also concurrently. It belongs to one process and
    can't be pickled.

    :raises OSError: the folder for temporary files (``TMPDIR``) is full or can't be written; :meth:`append` raises this
        too.
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
        """Return a file for reading the body from its start; closing the file keeps the body."""
        return io.BufferedReader(_Reader(self), _BUFFER_BYTES)

    def read(self) -> bytes:
        """Return the whole body, in memory."""
        with self.open() as file:
            return file.read()

    def is_utf8(self) -> bool:
        """Return whether the whole body is text in UTF-8."""
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
        """Return the ``count`` bytes that begin at ``offset``, or fewer if the body ends earlier."""
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
