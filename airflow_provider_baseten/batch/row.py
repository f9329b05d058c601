"""Row of the input, decoded when its value is needed."""

from contextlib import suppress
from typing import Any

import orjson

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError


class Row:
    """A row that is decoded when its value is needed.

    :param location: where the row comes from, for messages: file, unit and number, such as ``("a.csv", "line", 7)``. A
        row of the job's ``inputs`` has the location ``("inputs", "", index)``.
    :param raw: the row as JSON text, if it comes from a JSON Lines file.
    :param value: the row as a Python value, if ``raw`` is ``None``. For a broken row, an error, which is raised when
        the attribute ``value`` is read.
    """

    __slots__ = ("location", "raw", "stored")

    def __init__(self, location: tuple[str, str, int], raw: bytes | None = None, value: Any = None) -> None:
        self.location = location
        self.raw = raw
        self.stored = value

    @property
    def value(self) -> Any:
        """The row as a Python value in which no number is rounded.

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
        """The row as a Python value in which numbers with many digits may be rounded; faster than :attr:`value`.

        :raises BasetenError: the row is broken; the message names file and line.
        """
        return self.value if self.raw is None or self.stored is not None else self._decoded(self.raw)

    def column(self, name: str) -> Any:
        """Return the value of a column.

        :raises BasetenError: the row is broken or does not have the column.
        """
        value = self.value
        if isinstance(value, dict) and name in value:
            return value[name]
        raise BasetenInputError(f"{self} has no column {name!r}.")

    def _decoded(self, raw: bytes) -> Any:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            if exact_json.has_long_number(raw):
                # orjson refuses numbers beyond a 64-bit float, such as 1e400. The exact decoder accepts them. If the
                # row has another mistake, the error below is raised.
                with suppress(BasetenError):
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
        where, unit, number = self.location
        return f"{where}, {unit} {number}" if unit else f"{where}[{number}]"
