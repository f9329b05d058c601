"""One row of the input, and how far the input is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError


class Row:
    """A row, decoded when its value is needed.

    :param place: for messages: a file, what is counted in it (``line`` or ``row``) and the number.
    :param raw: JSON as it stands in the file, if it does.
    :param value: the row as a Python value, or the error of a row that is broken.
    """

    __slots__ = ("place", "raw", "stored")

    def __init__(self, place: tuple[str, str, int], raw: bytes | None = None, value: Any = None) -> None:
        self.place = place
        self.raw = raw
        self.stored = value

    @property
    def value(self) -> Any:
        """The row as a Python value whose numbers have every digit.

        :raises BasetenError: the row is broken; the message names file and line.
        """
        if self.raw is not None and self.stored is None:
            value = self._decoded(self.raw)
            self.stored = self._exact(self.raw) if exact_json.is_rounded(self.raw) else value
        if isinstance(self.stored, BasetenError):
            raise self.stored
        return self.stored

    @property
    def rounded(self) -> Any:
        """The row as a Python value whose numbers may be rounded: faster where no number is needed.

        :raises BasetenError: the row is broken; the message names file and line.
        """
        return self.value if self.raw is None or self.stored is not None else self._decoded(self.raw)

    def _decoded(self, raw: bytes) -> Any:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            if exact_json.has_long_number(raw):
                with suppress(BasetenError):  # A number that is beyond 64-bit floats, such as 1e400, is JSON too.
                    value = self._exact(raw)
                    encode_json("row", value)
                    return value
            raise BasetenInputError(f"{self} is not JSON ({error.msg} at column {error.colno}).") from None

    def _exact(self, raw: bytes) -> Any:
        try:
            return exact_json.decode(raw)
        except ValueError as error:
            raise BasetenInputError(f"{self} is not JSON ({error}).") from None

    def __str__(self) -> str:
        where, unit, number = self.place
        return f"{where}, {unit} {number}" if unit else f"{where}[{number}]"


class Reading:
    """How far files are read.

    :param total: their size in bytes.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._read = 0
        self._position: Callable[[], float] = _zero

    @contextmanager
    def file(self, size: int, position: Callable[[], float]) -> Iterator[None]:
        """Follow one file.

        :param size: in bytes.
        :param position: returns how many bytes are read; called from another thread.
        """
        self._position = position
        try:
            yield
        finally:
            self._position = _zero
            self._read += size

    @property
    def part(self) -> float:
        """From 0 to 1; 0 without files."""
        position = 0.0
        with suppress(ValueError):  # The file was closed in between.
            position = self._position()
        return min(1.0, (self._read + position) / self._total) if self._total else 0.0


def _zero() -> float:
    return 0.0
