"""Rows of JSON Lines parts: outputs and failure records, read from the files that are listed in a manifest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import files


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row with its outcome. Columns that were copied from the input are left out.

    :param number: number of the row.
    :param output: output of the row; ``None`` if the row has failed.
    :param error: failure record of the row; ``None`` if the row has an output.
    """

    number: int
    output: Any
    error: dict[str, Any] | None


def read_rows(uris: Iterable[str]) -> Iterator[StoredRow]:
    """Yield the rows of one file after the other, without holding a whole file in memory.

    :param uris: URIs of the files, from ``parts`` or ``failed_parts`` of a manifest. Parts in Parquet can't be read.
    :raises BasetenResultStoreError: a file does not exist, can't be read or is damaged.
    """
    for uri in uris:
        try:
            with files.opened(uri) as lines:
                for line in lines:
                    yield _row(uri, line)
        except FileNotFoundError:
            raise BasetenResultStoreError(f"{uri} does not exist: its rows can't be read.") from None


def _row(uri: str, line: bytes) -> StoredRow:
    try:
        row = exact_json.decode(line)
        number, output, error = row["row"], row.get("output"), row.get("error")
        if type(number) is not int or not isinstance(error, dict | None):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BasetenResultStoreError(f"{uri} is damaged ({type(error).__name__}): its rows can't be read.") from None
    return StoredRow(number, output, error)
