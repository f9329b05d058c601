"""Writer of parts: it collects the outcomes of rows and writes them in parts."""

import asyncio
import time
from functools import partial
from itertools import accumulate

from airflow_provider_baseten.batch.output_folder import OutputFolder, PartRow
from airflow_provider_baseten.batch.previous_runs import PreviousRuns
from airflow_provider_baseten.storage import write_retries

PART_ROWS = 1000
PART_BYTES = 64 << 20
PART_SECONDS = 30.0


class PartWriter:
    """Collects the outcomes of rows, and writes them as parts.

    A part is closed at 1,000 rows, at 64 MiB or after 30 seconds, and then written in a thread. A row is unsaved from
    the time when it is sent until its part is written. After a crash, unsaved rows are sent and billed again. So the
    number of unsaved rows is limited to the rows of one part plus the rows that may be in flight. At the limit,
    :meth:`wait_for_room` waits until a part is written. A failed write is retried for a minute, and the limit holds
    during this time too.

    :param previous: results of the previous runs.
    """

    def __init__(self, folder: OutputFolder, previous: PreviousRuns) -> None:
        self._folder = folder
        self._sequence = previous.sequence
        self.parts = list(previous.parts)
        self.failed_parts: list[str] = []
        self._outputs: list[PartRow] = []
        self._failures: list[PartRow] = []
        # Rows that were sent and are not in a part yet.
        self._unsaved = 0
        self._bytes = 0
        self._is_hurried = False
        self._opened = time.monotonic()
        self._saving: asyncio.Task[None] | None = None

    async def wait_for_room(self, in_flight: int) -> None:
        """Wait until more rows may be sent.

        :param in_flight: maximum number of rows in flight.
        :raises BasetenResultStoreError: a part could not be written.
        """
        while self._saving is not None and (self._unsaved >= PART_ROWS + in_flight or self._bytes >= PART_BYTES):
            await asyncio.shield(self._saving)

    def expect(self, rows: int) -> None:
        """Count ``rows`` rows that are about to be sent. The caller calls :meth:`add` for each of them later."""
        self._unsaved += rows

    def add(self, number: int, kept: bytes, outcome: bytes, *, failed: bool = False) -> None:
        """Add the outcome of a row.

        :param number: number of the row.
        :param kept: columns that are copied from the input, as JSON.
        :param outcome: output of the row; if ``failed`` is true, the record of its failure.
        """
        (self._failures if failed else self._outputs).append((number, kept, outcome))
        self._bytes += len(kept) + len(outcome)
        if self._saving is None and (self._rows >= PART_ROWS or self._bytes >= PART_BYTES):
            self._save()

    def close_old_part(self, now: float) -> None:
        """Begin to write the open part if it has been open for 30 seconds.

        :raises BasetenResultStoreError: an earlier part could not be written.
        """
        if self._saving is not None and self._saving.done():
            self._saving.result()
        if self._saving is None and self._rows and now >= self._opened + PART_SECONDS:
            self._save()

    def hurry(self) -> None:
        """Give up failed writes instead of retrying them, because the run must end soon."""
        self._is_hurried = True

    async def close(self) -> None:
        """Write the remaining rows.

        :raises BasetenResultStoreError: a part could not be written.
        """
        while self._saving is not None or self._rows:
            await (self._saving or self._save())

    @property
    def _rows(self) -> int:
        return len(self._outputs) + len(self._failures)

    def _save(self) -> "asyncio.Task[None]":
        self._saving = asyncio.create_task(self._save_part())
        return self._saving

    async def _save_part(self) -> None:
        """Write the rows of the next part: their outputs to one file, the failed rows to another.

        If the write fails, ``_saving`` keeps the failed asyncio task, so every caller that waits for the part gets
        the error.
        """
        outputs, self._outputs = self._next(self._outputs, PART_ROWS)
        failures, self._failures = self._next(self._failures, PART_ROWS - len(outputs))
        self._bytes = sum(map(_size, self._outputs)) + sum(map(_size, self._failures))
        self._opened = time.monotonic()
        self._sequence += 1
        if outputs:
            self.parts.append(await self._write(outputs))
        if failures:
            self.failed_parts.append(await self._write(failures, failed=True))
        self._unsaved -= len(outputs) + len(failures)
        self._saving = None
        if self._rows >= PART_ROWS or self._bytes >= PART_BYTES:
            self._save()

    def _next(self, outcomes: list[PartRow], most: int) -> tuple[list[PartRow], list[PartRow]]:
        """Return the rows for the next part, and the remaining rows.

        The next part gets up to ``most`` rows, or fewer if these reach 64 MiB.
        """
        if self._bytes >= PART_BYTES:
            sizes = accumulate(map(_size, outcomes[:most]))
            most = next((count for count, size in enumerate(sizes, 1) if size >= PART_BYTES), most)
        return outcomes[:most], outcomes[most:]

    async def _write(self, outcomes: list[PartRow], *, failed: bool = False) -> str:
        write = partial(asyncio.to_thread, self._folder.write, self._sequence, outcomes, failed=failed)
        # A failed write is repeated, because space on a full disk may become free.
        return await write_retries.persist_async(
            write, seconds=write_retries.WORKER_SECONDS, is_hurried=lambda: self._is_hurried
        )


def _size(outcome: PartRow) -> int:
    return len(outcome[1]) + len(outcome[2])
