"""Input formats, one module each: a file becomes its rows, or the number of them in pieces."""

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

Counter = Callable[[InputFile], Iterator[int]]

COUNTERS: dict[str | None, Counter] = {
    "jsonl": jsonl_input.counts,
    "csv": csv_input.counts,
    "parquet": parquet_input.counts,
}
