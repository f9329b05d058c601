"""Parts as Parquet."""

import io
import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec
import orjson

from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.outputs import sends_floats
from airflow_provider_baseten.exceptions import BasetenInputError

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_FLOAT_BYTES = 4


def require_pyarrow() -> None:
    """Find out before anything is sent whether Parquet can be read and written.

    :raises BasetenInputError: it can't.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise BasetenInputError(
            "Parquet needs pyarrow, which is not installed: pip install 'airflow-provider-baseten[parquet]'."
        ) from None


def has_vectors(job: BatchJob) -> bool:
    """Tell whether the outputs of a job are lists of numbers in its Parquet parts."""
    return job.preset == "embeddings" and job.output_filter is None and sends_floats(job.parameters)


def packed(vector: Sequence[float]) -> bytes | None:
    """Return a vector of finite numbers as 32-bit floats, ``None`` if one of them is too large for that."""
    floats = array("f", vector)
    return floats.tobytes() if math.isfinite(sum(floats)) else None


def to_parquet(rows: list[tuple[int, bytes, bytes]], job: BatchJob) -> bytes:
    """Return rows with their outputs as a Parquet file.

    Columns: ``row``; those that the job keeps, as text (what is no text, as JSON); ``output``, a list of numbers for
    embeddings and otherwise JSON. The types depend on the job alone, so that all parts have the same.

    :param rows: number, kept columns as members of JSON, and output: JSON, or what :func:`packed` returns.
    """
    import pyarrow as pa
    import pyarrow.parquet

    outputs = [output for _, _, output in rows]
    columns = {"row": pa.array([number for number, _, _ in rows], pa.int64())}
    names = list(dict.fromkeys([*([job.id_column] if job.id_column else []), *job.keep_columns]))
    if names:
        kept = [_MEMBERS.decode(b"{%b}" % members[1:]) for _, members, _ in rows]
        columns |= {name: pa.array([_text(row[name]) for row in kept], pa.string()) for name in names}
    columns["output"] = _vectors(outputs) if has_vectors(job) else pa.array([o.decode() for o in outputs], pa.string())
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


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
