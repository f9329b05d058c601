"""numpy arrays and scalars in a msgpack body.

msgpack-numpy, which Truss reads them with, takes the type that a request names as it is. Bytes that are read as Python
objects are addresses in this process's memory, so only types that hold plain data are read here.
"""

import math
import re
import sys
from typing import Any

_FIXED = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "M8", "m8"}
_VARIABLE = re.compile(r"[SU][1-9][0-9]{0,7}|[Mm]8\[([1-9][0-9]{0,8})?([YMWDhms]|ms|us|ns|ps|fs|as)\]")
_MOST_DIMENSIONS = 64


class Arrays:
    """The arrays of one body.

    Empty arrays cost a sender nothing, and a model that turns them into lists a lot: ``(1000000000, 0)``. So the number
    of lists that all of them stand for is limited.

    :param body_bytes: size of the body.
    """

    def __init__(self, body_bytes: int) -> None:
        self._most_lists = 65_536 + 4 * body_bytes
        self._lists = 0

    def read(self, value: dict[Any, Any]) -> Any:
        """Return the array or scalar that a map stands for; the map itself when it stands for none.

        :raises ValueError: it is of another type than those that hold plain data, or not of the size that it says.
        """
        if value.get(b"nd") is True and value.get(b"kind") == b"O":
            raise ValueError("unsupported payload")
        if b"nd" not in value or b"type" not in value or b"data" not in value:
            return value
        if value[b"nd"] is not True:
            return self._array(value[b"type"], [], value[b"data"])[()]
        if b"shape" not in value:
            return value
        if value.get(b"kind", b"") != b"":
            raise ValueError("arrays of records are not supported")
        return self._array(value[b"type"], value[b"shape"], value[b"data"])

    def _array(self, name: Any, shape: Any, data: Any) -> Any:
        import numpy

        if not isinstance(name, str) or not _is_plain(name.lstrip("<>|=")):
            raise ValueError("arrays of this type are not supported")
        if not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
            raise ValueError("an array has no shape or no data")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("the sizes of an array must be whole numbers")
        dtype = numpy.dtype(name)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of this shape does not have {len(data)} bytes")
        self._count_lists(shape)
        # numpy relies on booleans being 0 or 1, and Python on characters that exist.
        if dtype.kind == "b" and any(data.translate(None, b"\x00\x01")):
            raise ValueError("a boolean is neither true nor false")
        if dtype.kind == "U" and data and numpy.frombuffer(data, f"{dtype.byteorder}u4").max() > sys.maxunicode:
            raise ValueError("a character is beyond Unicode")
        return numpy.ndarray(shape, dtype, data)

    def _count_lists(self, shape: list[int]) -> None:
        lists = 1
        for size in shape[:-1]:
            self._lists += lists
            lists *= size
        self._lists += lists
        if self._lists > self._most_lists:
            raise ValueError("the arrays are too large for their data")


def _is_plain(name: str) -> bool:
    return name in _FIXED or _VARIABLE.fullmatch(name) is not None
