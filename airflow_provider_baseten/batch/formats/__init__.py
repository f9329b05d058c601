"""Input formats, one module each: a file becomes its rows."""

from collections.abc import Callable, Collection, Iterator

from airflow_provider_baseten.batch.formats import csv_input, jsonl_input, parquet_input
from airflow_provider_baseten.batch.input_files import InputFile
from airflow_provider_baseten.batch.row import Reading, Row

Reader = Callable[[InputFile, Reading, Collection[str] | None], Iterator[Row]]

READERS: dict[str | None, Reader] = {
    "jsonl": jsonl_input.rows,
    "csv": csv_input.rows,
    "parquet": parquet_input.rows,
}
