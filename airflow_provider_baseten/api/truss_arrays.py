"""numpy values in msgpack, in the form that msgpack-numpy gave them, but of plain types only.

msgpack-numpy lays whatever type the sender names over whatever bytes the sender gives. Of type ``|O`` these bytes are
addresses in the memory of this process.
"""

import math
import re
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np

# Booleans, integers, floats, complex numbers, bytes, texts, dates and durations, as numpy's own ``dtype.str`` names
# them. Long doubles are missing: their bytes mean something else on another machine.
_PLAIN = re.compile(
    r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,7}"
    r"|[mM]8(\[([1-9][0-9]{0,8})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)

_MOST_DIMENSIONS = 64

# Lists that arrays may stand for besides those that the size of the body explains.
_SPARE_LISTS = 65_536

_LAST_CHARACTER = 0x10FFFF


def encode(value: Any) -> dict[bytes, Any] | None:
    """Return the form of a numpy array or scalar, ``None`` if the value is neither.

    :raises TypeError: it is of a type that is not accepted, or has masked entries.
    """
    import numpy as np

    if not isinstance(value, np.ndarray | np.generic):
        return None
    if not _PLAIN.fullmatch(value.dtype.str) or isinstance(value, np.ma.MaskedArray):
        kind = "masked array" if isinstance(value, np.ma.MaskedArray) else f"numpy value of type {value.dtype}"
        raise TypeError(f"a {kind:.100} has no msgpack form: convert it to a plain type")
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    # numpy gives no view of dates.
    viewed = value.flags.c_contiguous and value.dtype.kind not in "mM"
    data = value.data if viewed else value.tobytes()
    return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape, b"data": data}


class ArrayReader:
    """Reads the numpy values of one body.

    Arrays are read-only views of the bytes that they came in. How many lists they stand for together is bounded by the
    size of the body: ``(1000000000, 0)`` is a gigabyte of lists and not one byte of data.

    :param body_bytes: size of the body.
    """

    def __init__(self, body_bytes: int) -> None:
        self._lists_left = _SPARE_LISTS + 4 * body_bytes

    def array(self, form: dict[Any, Any]) -> "np.ndarray[Any, Any]":
        """Return the array of a form.

        :raises ValueError: its type is not accepted, or its shape is not that of its bytes.
        """
        import numpy as np

        shape, data = form[b"shape"], form[b"data"]
        if form.get(b"kind", b"") != b"":
            raise ValueError("an array of Python objects or records is not accepted")
        if not _is_shape(shape):
            raise ValueError("the shape of an array is no list of sizes")
        dtype = _dtype(form[b"type"])
        if type(data) is not bytes or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("an array has not as many bytes as its shape says")
        self._lists_left -= sum(accumulate(shape[:-1], mul, initial=1))
        if self._lists_left < 0:
            raise ValueError("arrays stand for more lists than their bytes explain")
        _check_values(dtype, data)
        return np.ndarray(shape, dtype, data)

    @staticmethod
    def scalar(form: dict[Any, Any]) -> "np.generic":
        """Return the scalar of a form.

        :raises ValueError: its type is not accepted, or has another size.
        """
        import numpy as np

        data, dtype = form[b"data"], _dtype(form[b"type"])
        if type(data) is not bytes or len(data) != dtype.itemsize:
            raise ValueError("a number has not as many bytes as its type")
        _check_values(dtype, data)
        return cast("np.generic", np.ndarray((), dtype, data)[()])


def _is_shape(shape: Any) -> bool:
    if type(shape) is not list or len(shape) > _MOST_DIMENSIONS:
        return False
    return all(type(size) is int and size >= 0 for size in shape)


def _dtype(name: Any) -> "np.dtype[Any]":
    import numpy as np

    if type(name) is not str or not _PLAIN.fullmatch(name):
        raise ValueError("an array is of a type that is not accepted")
    return np.dtype(name)


def _check_values(dtype: "np.dtype[Any]", data: bytes) -> None:
    """Refuse bytes that numpy or Python would take for something that can't be: they trust their own values."""
    import numpy as np

    if not data or dtype.kind not in "bU":
        return
    values, last = ("u1", 1) if dtype.kind == "b" else (f"{dtype.byteorder}u4", _LAST_CHARACTER)
    if np.frombuffer(data, values).max() > last:
        raise ValueError("an array holds what is no boolean or no character")
