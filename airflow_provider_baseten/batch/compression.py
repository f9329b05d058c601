"""Decompression of input files: gzip and zstd."""

import gzip
import io
from typing import Any

from airflow_provider_baseten.exceptions import BasetenInputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

_BUFFER = 1 << 20


def decompressed(raw: io.BufferedReader, compression: str | None) -> io.BufferedReader:
    """Return the decompressed content of a file as a stream.

    Concatenated compressed files are read as one. If the data is truncated or damaged, the error is raised only when
    the damaged place is read.

    :param compression: ``gzip``, ``zstd``, or ``None`` for a file that is not compressed.
    :raises BasetenInputError: the file is compressed with zstd, and pyarrow is not installed.
    """
    match compression:
        case "gzip":
            return _buffered(gzip.GzipFile(fileobj=raw))
        case "zstd":
            try:
                import pyarrow as pa
            except ImportError:
                raise BasetenInputError(
                    "Files that end in .zst need pyarrow, which is not installed: pip install "
                    "'airflow-provider-baseten[parquet]'."
                ) from None
            return _buffered(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


def _buffered(stream: Any) -> io.BufferedReader:
    return io.BufferedReader(stream, _BUFFER)
