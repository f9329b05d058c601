"""Progress of reading the input files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class ReadProgress:
    """Progress of reading the input files, in bytes.

    :param total: size of all files in bytes.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._read = 0
        self._position: Callable[[], float] = _zero

    @contextmanager
    def file(self, size: int, position: Callable[[], float]) -> Iterator[None]:
        """Count the bytes of one file while the ``with`` block reads the file.

        :param size: size in bytes.
        :param position: returns the number of bytes that were read so far; called from another thread.
        """
        self._position = position
        try:
            yield
        finally:
            self._position = _zero
            self._read += size

    @property
    def fraction(self) -> float:
        """Fraction of all bytes that was read so far, from 0 to 1; 0 without files."""
        position = 0.0
        with suppress(ValueError):  # The file may have been closed meanwhile.
            position = self._position()
        return min(1.0, (self._read + position) / self._total) if self._total else 0.0


def _zero() -> float:
    return 0.0
