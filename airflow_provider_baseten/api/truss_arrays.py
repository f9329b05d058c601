"""numpy values in msgpack, in the format of the library msgpack-numpy, but restricted to plain types.

msgpack-numpy itself is not used: it reinterprets the sender's bytes as whatever type the sender names. If the sender
names ``|O``, numpy's type of Python objects, the bytes are used as addresses in this process's memory.
"""

import math
import re
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np

# Matches numpy's ``dtype.str`` of the accepted types: booleans, integers, floats, complex numbers, bytes, texts, dates
# and durations. Long doubles are not accepted, because their byte format depends on the machine.
_PLAIN_DTYPE = re.compile(
    r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,7}"
    r"|[mM]8(\[([1-9][0-9]{0,8})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)

_MAX_DIMENSIONS = 64

# As JSON, arrays expand to nested lists. All arrays of a body together are limited to this number of lists, plus four
# for each byte of the body. Without the limit, a small body could fill the memory.
_SPARE_LISTS = 65_536

_LAST_CHARACTER = 0x10FFFF


def encode_array(value: Any) -> dict[bytes, Any] | None:
    """Encode a numpy array or scalar; return ``None`` if the value is neither.

    :raises TypeError: the type is not accepted, or the array is masked.
    """
    import numpy as np

    if not isinstance(value, np.ndarray | np.generic):
        return None
    if not _PLAIN_DTYPE.fullmatch(value.dtype.str) or isinstance(value, np.ma.MaskedArray):
        kind = "masked array" if isinstance(value, np.ma.MaskedArray) else f"numpy value of type {value.dtype}"
        raise TypeError(f"a {kind:.100} has no msgpack form: convert it to a plain type")
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    # numpy offers no memory view of dates and durations, so they are copied.
    viewed = value.flags.c_contiguous and value.dtype.kind not in "mM"
    data = value.data if viewed else value.tobytes()
    return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape, b"data": data}


class ArrayReader:
    """Decoder of the numpy values of one body.

    Arrays are read-only views of the body. As JSON they expand to nested lists. The number of these lists is limited in
    proportion to the size of the body, because an array of the shape ``(1000000000, 0)`` has no data, but expands to a
    billion lists.

    :param body_bytes: size of the body.
    """

    def __init__(self, body_bytes: int) -> None:
        self._lists_left = _SPARE_LISTS + 4 * body_bytes

    def array(self, form: dict[Any, Any]) -> "np.ndarray[Any, Any]":
        """Return the array of an encoded value.

        :raises ValueError: the type is not accepted, or the shape does not match the number of bytes.
        """
        import numpy as np

        shape, data = form[b"shape"], form[b"data"]
        if form.get(b"kind", b"") != b"":
            raise ValueError("an array of Python objects or records is not accepted")
        if not _is_shape(shape):
            raise ValueError("the shape of an array is not a list of sizes")
        dtype = _dtype(form[b"type"])
        if type(data) is not bytes or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("the bytes of an array do not match its shape")
        self._lists_left -= sum(accumulate(shape[:-1], mul, initial=1))
        if self._lists_left < 0:
            raise ValueError("the shapes of arrays expand to too many lists for the size of the body")
        _check_values(dtype, data)
        return np.ndarray(shape, dtype, data)

    @staticmethod
    def scalar(form: dict[Any, Any]) -> "np.generic":
        """Return the scalar of an encoded value.

        :raises ValueError: the type is not accepted, or does not match the number of bytes.
        """
        import numpy as np

        data, dtype = form[b"data"], _dtype(form[b"type"])
        if type(data) is not bytes or len(data) != dtype.itemsize:
            raise ValueError("the bytes of a number do not match its type")
        _check_values(dtype, data)
        return cast("np.generic", np.ndarray((), dtype, data)[()])


def _is_shape(shape: Any) -> bool:
    if type(shape) is not list or len(shape) > _MAX_DIMENSIONS:
        return False
    return all(type(size) is int and size >= 0 for size in shape)


def _dtype(name: Any) -> "np.dtype[Any]":
    import numpy as np

    if type(name) is not str or not _PLAIN_DTYPE.fullmatch(name):
        raise ValueError("an array is of a type that is not accepted")
    return np.dtype(name)


def _check_values(dtype: "np.dtype[Any]", data: bytes) -> None:
    """Refuse bytes that are not valid booleans or characters, because numpy and Python do not check them."""
    import numpy as np

    if not data or dtype.kind not in "bU":
        return
    values, last = ("u1", 1) if dtype.kind == "b" else (f"{dtype.byteorder}u4", _LAST_CHARACTER)
    if np.frombuffer(data, values).max() > last:
        raise ValueError("an array holds invalid booleans or characters")
