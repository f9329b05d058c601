"""Parquet input."""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_baseten.batch.formats.arrow_values import record_batch_rows
from airflow_provider_baseten.batch.formats.parquet_parts import require_pyarrow
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.batch.read_progress import ReadProgress
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.exceptions import BasetenInputError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1000


def rows(file: InputFile, progress: ReadProgress, columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a file.

    :param columns: columns that are needed, ``None`` for all. If the file lacks one of them, every column is read, so
        that the error message can name the columns that the file has.
    :raises BasetenInputError: the file is not a Parquet file, or has a column twice.
    """
    require_pyarrow()
    import pyarrow.parquet

    number = 0
    with file.raw() as binary, progress.file(file.size, lambda: file.size * number / max(1, total)):
        total = 0
        try:
            table = pyarrow.parquet.ParquetFile(binary)
            schema = table.schema_arrow
        except Exception as error:
            raise BasetenInputError(f"{file.uri} is not a Parquet file ({error!s:.300}).") from None
        total = table.metadata.num_rows
        wanted = None if columns is None or not {*columns} <= {*schema.names} else sorted(columns)
        _check_names(file.uri, schema, wanted)
        # Row groups are read one by one, because pyarrow can't put two of them into the same batch if a column has
        # lists of dictionary-encoded values.
        groups = range(table.num_row_groups)
        for batch in chain.from_iterable(table.iter_batches(_BATCH_ROWS, [group], wanted) for group in groups):
            for value in record_batch_rows(batch, f"{file.uri}, row", number):
                number += 1
                yield Row((file.uri, "row", number), value=value)


def counts(file: InputFile) -> Iterator[int]:
    """Yield one number, the number of rows in the metadata of the file."""
    import pyarrow.parquet

    with file.raw() as binary:
        yield pyarrow.parquet.read_metadata(binary).num_rows


def _check_names(uri: str, schema: "pa.Schema", wanted: list[str] | None) -> None:
    names = Counter(schema.names)
    repeated = [name for name, count in names.items() if count > 1 and (wanted is None or name in wanted)]
    if repeated:
        raise BasetenInputError(
            f"{uri} has several columns of the name {', '.join(map(repr, repeated[:20]))}: rename them."
        )
