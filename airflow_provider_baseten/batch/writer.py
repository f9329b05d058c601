"""The open part of a run: outcomes until they are written."""

import asyncio
import logging
import time
from itertools import accumulate

from airflow_provider_baseten.batch.parts import Earlier, Outcome, OutputFolder
from airflow_provider_baseten.exceptions import BasetenResultStoreError

log = logging.getLogger(__name__)

PART_ROWS = 1000
PART_BYTES = 64 << 20
PART_SECONDS = 30.0

# How long a part that can't be written is held and tried again: a disk that is full may be cleared.
WRITE_SECONDS = 60.0
WRITE_PAUSE_SECONDS = 1.0


class PartWriter:
    """Collects the outcomes of rows, and writes them as parts.

    A part is closed at 1,000 rows, 64 MB or after 30 seconds, and written whole in a thread. Rows that are sent and not
    yet in a part are paid for again after a crash, so their number is bounded: :meth:`room` waits while there are as
    many as may be in flight and one part. A part that can't be written is held and tried again for a minute, in which
    nothing is sent beyond that number.

    :param earlier: what earlier runs have written.
    """

    #: Rows that were sent and are not in a part yet; whoever sends a row adds it.
    unsaved = 0

    def __init__(self, folder: OutputFolder, earlier: Earlier) -> None:
        self._folder = folder
        self._sequence = earlier.sequence
        self.parts = list(earlier.parts)
        self.failed_parts: list[str] = []
        self._outputs: list[Outcome] = []
        self._failures: list[Outcome] = []
        self._bytes = 0
        self._hurried = False
        self._opened = time.monotonic()
        self._saving: asyncio.Task[None] | None = None

    async def room(self, in_flight: int) -> None:
        """Wait until further rows may be sent.

        :param in_flight: rows that may be in flight.
        :raises BasetenResultStoreError: a part could not be written.
        """
        while self._saving is not None and (self.unsaved >= PART_ROWS + in_flight or self._bytes >= PART_BYTES):
            await asyncio.shield(self._saving)

    def add(self, number: int, kept: bytes, outcome: bytes, *, failed: bool = False) -> None:
        """Add the outcome of a row.

        :param kept: members of its line that come from the input.
        :param outcome: its output, or the record of its failure.
        """
        (self._failures if failed else self._outputs).append((number, kept, outcome))
        self._bytes += len(kept) + len(outcome)
        if self._saving is None and (self._rows >= PART_ROWS or self._bytes >= PART_BYTES):
            self._save()

    def close_old_part(self, now: float) -> None:
        """Close the part if it is open for long.

        :raises BasetenResultStoreError: an earlier one could not be written.
        """
        if self._saving is not None and self._saving.done():
            self._saving.result()
        if self._saving is None and self._rows and now >= self._opened + PART_SECONDS:
            self._save()

    def hurry(self) -> None:
        """Don't try again to write what can't be written."""
        self._hurried = True

    async def close(self) -> None:
        """Write what is left.

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
        """Write one part, of its outputs and its failed rows a file each.

        After an error the task stays, so that everybody who needs it gets the error.
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
        self.unsaved -= len(outputs) + len(failures)
        self._saving = None
        if self._rows >= PART_ROWS or self._bytes >= PART_BYTES:
            self._save()

    def _next(self, outcomes: list[Outcome], most: int) -> tuple[list[Outcome], list[Outcome]]:
        """Return what goes into the next part, and the rest."""
        if self._bytes >= PART_BYTES:
            sizes = accumulate(map(_size, outcomes[:most]))
            most = next((count for count, size in enumerate(sizes, 1) if size >= PART_BYTES), most)
        return outcomes[:most], outcomes[most:]

    async def _write(self, outcomes: list[Outcome], *, failed: bool = False) -> str:
        began = time.monotonic()
        told = False
        while True:
            try:
                return await asyncio.to_thread(self._folder.write, self._sequence, outcomes, failed=failed)
            except BasetenResultStoreError as error:
                if self._hurried or time.monotonic() >= began + WRITE_SECONDS:
                    raise
                if not told:
                    log.warning("%s Until then it is held, and written again for %d s.", error, WRITE_SECONDS)
                told = True
            await asyncio.sleep(WRITE_PAUSE_SECONDS)


def _size(outcome: Outcome) -> int:
    return len(outcome[1]) + len(outcome[2])
