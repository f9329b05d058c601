"""Row count of the input for progress reports; the rows are counted while requests are sent."""

import threading
from collections.abc import Iterable, Iterator

from airflow_provider_baseten.batch.cores import use_all_cores
from airflow_provider_baseten.batch.formats import input_format_of
from airflow_provider_baseten.batch.input_file import InputFile
from airflow_provider_baseten.storage.files import local_path

# Text files must be read to count their rows. Remote text files are fetched a second time for the count, so their rows
# are counted only up to this total size.
_MAX_REMOTE_BYTES = 16 << 20

# Pause after each counted block, so that counting hardly slows down the run.
_PAUSE_SECONDS = 0.004


class RowCount:
    """Counts the rows of files in a thread. It reads the whole of a text file, but only the metadata of a Parquet file.

    :param files: the files.
    :param known: number of rows if it is already known. In this case, no file is read.
    :param at_least: number of rows that were found before the count; the total is not smaller.
    """

    def __init__(self, files: Iterable[InputFile], known: int | None, at_least: int = 0) -> None:
        self.total = known
        self.at_least = at_least if known is None else known
        self._files = [*files]
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start counting if the number of rows is not known yet and :func:`is_cheap` is true."""
        if self.total is None and self._files and is_cheap(self._files):
            self._thread = threading.Thread(target=self._count, name="baseten-batch-count", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the count, but no longer than ``seconds``."""
        if self._thread is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """Stop counting."""
        self._closed.set()

    def _count(self) -> None:
        use_all_cores()
        count = 0
        try:
            for rows in block_counts(self._files):
                count += rows
                self.at_least = max(self.at_least, count)
                if self._closed.wait(_PAUSE_SECONDS):
                    return
        except Exception:  # The run reads the same files, and raises this error with the file's name.
            return
        self.total = count


def block_counts(files: Iterable[InputFile]) -> Iterator[int]:
    """Count the rows of the files block by block, and yield the number of rows in each block."""
    for file in files:
        if found := input_format_of(file):
            yield from found.counts(file)


def is_cheap(files: Iterable[InputFile]) -> bool:
    """Return whether the rows can be counted without fetching more than 16 MiB of text over the network."""
    remote = [(file, input_format_of(file)) for file in files if local_path(file.uri) is None]
    return sum(file.size for file, found in remote if found and not found.has_row_count) <= _MAX_REMOTE_BYTES
