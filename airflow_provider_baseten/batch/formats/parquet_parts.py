"""Parts in Parquet."""

import io
import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import IO, Any

import msgspec
import orjson

from airflow_provider_baseten.exceptions import BasetenInputError

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_FLOAT_BYTES = 4


def require_pyarrow() -> None:
    """Check that Parquet can be read and written.

    :raises BasetenInputError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise BasetenInputError(
            "Parquet needs pyarrow, which is not installed: pip install 'airflow-provider-baseten[parquet]'."
        ) from None


def packed(vector: Sequence[float]) -> bytes | None:
    """Return a vector of finite numbers as the bytes of 32-bit floats, ``None`` if a number is too large for that."""
    floats = array("f", vector)
    return floats.tobytes() if math.isfinite(sum(floats)) else None


def encode_part(rows: list[tuple[int, bytes, bytes]], columns: Sequence[str], are_vectors: bool) -> bytes:
    """Return rows with their outputs as a Parquet file.

    The file has the column ``row``, the copied columns (text as it is, other values as JSON), and the column
    ``output``: a list of numbers if the outputs are vectors, otherwise JSON. The types of the columns depend only on
    the job, so all parts of a job have the same types.

    :param rows: for each row three values: its number; its copied columns as a fragment of JSON that begins with a
        comma, such as ``,"id":7,"title":"A"``; and its output. A vector is given as the bytes that :func:`packed`
        returns, any other output as JSON.
    :param columns: names of the copied columns.
    :param are_vectors: whether the outputs are packed vectors.
    """
    import pyarrow as pa
    import pyarrow.parquet

    outputs = [output for _, _, output in rows]
    table = {"row": pa.array([number for number, _, _ in rows], pa.int64())}
    if columns:
        copied = [_MEMBERS.decode(b"{%b}" % members[1:]) for _, members, _ in rows]
        table |= {name: pa.array([_text(row[name]) for row in copied], pa.string()) for name in columns}
    table["output"] = _vectors(outputs) if are_vectors else pa.array([o.decode() for o in outputs], pa.string())
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(table), buffer, compression="zstd")
    return buffer.getvalue()


def row_numbers(file: IO[bytes]) -> "array[int]":
    """Return the numbers of the rows in a part.

    :raises ValueError: the part is damaged.
    """
    import pyarrow.parquet

    body = io.BytesIO(file.read())
    try:
        table = pyarrow.parquet.read_table(body, columns=["row"])
    except OSError as error:  # pyarrow raises OSError for damaged bytes too.
        raise ValueError(str(error)) from None
    return array("Q", table.column("row").to_pylist())


def _vectors(outputs: list[bytes]) -> Any:
    import pyarrow as pa

    ends = [end // _FLOAT_BYTES for end in accumulate(map(len, outputs), initial=0)]
    floats = pa.Array.from_buffers(pa.float32(), ends[-1], [None, pa.py_buffer(b"".join(outputs))])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), floats)


def _text(value: msgspec.Raw) -> str | None:
    text = bytes(value)
    if text == b"null":
        return None
    return orjson.loads(text) if text.startswith(b'"') else text.decode()
