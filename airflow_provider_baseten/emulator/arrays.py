"""Decoder of numpy arrays and scalars in a msgpack body.

Truss decodes such arrays with msgpack-numpy, which accepts every numpy type that a request declares. If a request
declared an object type, numpy would use bytes of the request as memory addresses. Therefore this decoder accepts only
types of plain data, such as numbers and text.
"""

import math
import re
import sys
from typing import Any

_FIXED_SIZE_TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "M8", "m8"}
_VARIABLE_SIZE_TYPE = re.compile(r"[SU][1-9][0-9]{0,7}|[Mm]8\[([1-9][0-9]{0,8})?([YMWDhms]|ms|us|ns|ps|fs|as)\]")
_MAX_DIMENSIONS = 64


class ArrayDecoder:
    """Decoder of the arrays in one body.

    An array of the shape ``(1000000000, 0)`` needs no bytes in the body, but becomes a billion lists when a model
    converts the array to nested lists. Therefore the decoder counts these lists for all arrays of the body, and limits
    their number.

    :param body_bytes: size of the body in bytes. The limit for the lists grows with this size.
    """

    def __init__(self, body_bytes: int) -> None:
        self._max_lists = 65_536 + 4 * body_bytes
        self._lists = 0

    def decode(self, value: dict[Any, Any]) -> Any:
        """Return the array or scalar that a msgpack map encodes. Return any other map unchanged.

        :raises ValueError: the type of the array is not accepted, or the array does not have the declared size.
        """
        if value.get(b"nd") is True and value.get(b"kind") == b"O":
            raise ValueError("unsupported payload")
        if b"nd" not in value or b"type" not in value or b"data" not in value:
            return value
        if value[b"nd"] is not True:
            return self._decode_array(value[b"type"], [], value[b"data"])[()]
        if b"shape" not in value:
            return value
        if value.get(b"kind", b"") != b"":
            raise ValueError("arrays of records are not supported")
        return self._decode_array(value[b"type"], value[b"shape"], value[b"data"])

    def _decode_array(self, name: Any, shape: Any, data: Any) -> Any:
        import numpy

        if not isinstance(name, str) or not _is_plain_type(name.lstrip("<>|=")):
            raise ValueError("arrays of this type are not supported")
        if not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("an array has no valid shape or no data")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("the sizes of an array must be whole numbers")
        dtype = numpy.dtype(name)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of this shape does not have {len(data)} bytes")
        self._count_lists(shape)
        # numpy does not check that a boolean is 0 or 1, or that a character is a Unicode code point. Both are checked
        # here.
        if dtype.kind == "b" and any(data.translate(None, b"\x00\x01")):
            raise ValueError("a boolean is neither 0 nor 1")
        if dtype.kind == "U" and data and numpy.frombuffer(data, f"{dtype.byteorder}u4").max() > sys.maxunicode:
            raise ValueError("a character is beyond Unicode")
        return numpy.ndarray(shape, dtype, data)

    def _count_lists(self, shape: list[int]) -> None:
        lists = 1
        for size in shape[:-1]:
            self._lists += lists
            lists *= size
        self._lists += lists
        if self._lists > self._max_lists:
            raise ValueError("the shapes of the arrays are too large for their data")


def _is_plain_type(name: str) -> bool:
    return name in _FIXED_SIZE_TYPES or _VARIABLE_SIZE_TYPE.fullmatch(name) is not None
