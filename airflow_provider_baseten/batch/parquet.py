"""Parts as Parquet."""

import io
from typing import Any

import orjson

from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError


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


def to_parquet(lines: list[tuple[int, bytes]], job: BatchJob) -> bytes:
    """Return output lines as a Parquet file.

    Columns: ``row``; those that the job keeps, as text (what is no text, as JSON); ``output``, a list of numbers for
    embeddings and otherwise JSON. The types depend on the job alone, so that all parts have the same.
    """
    import pyarrow as pa
    import pyarrow.parquet

    kept = list(dict.fromkeys([*([job.id_column] if job.id_column else []), *job.keep_columns]))
    as_numbers = (job.parameters or {}).get("encoding_format", "float") == "float"
    vectors = job.preset == "embeddings" and job.output_filter is None and as_numbers
    schema = pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.string()) for name in kept),
            ("output", pa.list_(pa.float32()) if vectors else pa.string()),
        ]
    )
    rows = [orjson.loads(line) for _, line in lines]
    columns: dict[str, list[Any]] = {"row": [row["row"] for row in rows]}
    columns |= {name: [_text(row[name]) for row in rows] for name in kept}
    columns["output"] = [row["output"] if vectors else orjson.dumps(row["output"]).decode() for row in rows]
    buffer = io.BytesIO()
    try:
        table = pa.table(columns, schema=schema)
    except pa.ArrowException as error:
        raise BasetenResultStoreError(f"Embeddings that are no lists of numbers don't fit Parquet ({error}).") from None
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else orjson.dumps(value).decode()
