"""Input file: its path, its version, and its content."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from airflow_provider_baseten.batch.compression import COMPRESSIONS, decompressed
from airflow_provider_baseten.batch.read_progress import ReadProgress


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read rows from.

    :param uri: path or URI.
    :param size: size in bytes.
    :param version: a string that is different after the file's content has changed.
    :param raw: opens the file without decompressing it.
    """

    uri: str
    size: int
    version: str
    raw: Callable[[], io.BufferedReader] = field(repr=False, compare=False)

    @property
    def suffix(self) -> str:
        """The suffix that names the format, in lower case: ``.jsonl`` for both ``A.JSONL`` and ``a.jsonl.gz``."""
        return suffixes_of(self.uri)[-1 if self.compression is None else -2]

    @property
    def compression(self) -> str | None:
        """The compression of the whole file: ``gzip``, ``zstd`` or ``None``."""
        return COMPRESSIONS.get(suffixes_of(self.uri)[-1])

    @contextmanager
    def open(self, progress: ReadProgress) -> Iterator[io.BufferedReader]:
        """Open the file and decompress its content while it is read.

        :param progress: counts the bytes that are read.
        :raises BasetenInputError: the library for the decompression is not installed.
        """
        with self.raw() as raw, progress.file(self.size, raw.raw.tell):
            yield decompressed(raw, self.compression)


def suffixes_of(uri: str) -> list[str]:
    """Return the suffixes of a name in lower case.

    Two empty strings come first, so that the list has the items ``-1`` and ``-2`` even if the name has no suffix.
    """
    return ["", "", *(suffix.lower() for suffix in PurePosixPath(uri).suffixes)]
