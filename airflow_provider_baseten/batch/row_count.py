"""Number of an input's rows, found while the first of them are sent: for the progress and the time left."""

import threading
from collections.abc import Iterable, Iterator

from airflow_provider_baseten.batch.cores import use_all_cores
from airflow_provider_baseten.batch.formats import COUNTERS
from airflow_provider_baseten.batch.input_files import InputFile
from airflow_provider_baseten.storage.files import local_path

# Text is read to its end to be counted. What has to be fetched for that a second time is small.
_MOST_REMOTE_BYTES = 16 << 20

# Between two blocks, so that the run is hardly slower for it.
_PAUSE_SECONDS = 0.004


class RowCount:
    """Counts the rows of files in a thread: of Parquet from the metadata, of text from what would be read as a row.

    :param files: the files.
    :param known: number of rows where it is known already; then nothing is read.
    :param at_least: rows that were seen already.
    """

    def __init__(self, files: Iterable[InputFile], known: int | None, at_least: int = 0) -> None:
        self.total = known
        self.at_least = at_least if known is None else known
        self._files = [*files]
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to count, if that is needed and cheap."""
        if self.total is None and self._files and is_cheap(self._files):
            self._thread = threading.Thread(target=self._count, name="baseten-batch-count", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the count, at most some seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """Count no more."""
        self._closed.set()

    def _count(self) -> None:
        use_all_cores()
        count = 0
        try:
            for rows in counts(self._files):
                count += rows
                self.at_least = max(self.at_least, count)
                if self._closed.wait(_PAUSE_SECONDS):
                    return
        except Exception:  # Whoever reads the rows meets the same error, and says which file it is.
            return
        self.total = count


def counts(files: Iterable[InputFile]) -> Iterator[int]:
    """Yield numbers of rows whose sum is that of all files."""
    for file in files:
        yield from COUNTERS[file.format](file)


def is_cheap(files: Iterable[InputFile]) -> bool:
    """Tell whether files are counted: not if much text would be fetched over the network a second time."""
    texts = [file for file in files if file.format != "parquet" and local_path(file.uri) is None]
    return sum(file.size for file in texts) <= _MOST_REMOTE_BYTES
