"""Measurement of a run's progress: rows that have an outcome, rows there are, and the time that is left."""

from collections import deque
from dataclasses import dataclass

from airflow_provider_baseten.batch.failed_rows import errors_of
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.parts import Earlier
from airflow_provider_baseten.batch.progress import Progress, Tally
from airflow_provider_baseten.batch.row_count import RowCount
from airflow_provider_baseten.batch.rows import Source

# Progresses that the time left is reckoned over: about a minute.
_REMEMBERED = 7

# What is estimated to take longer, some 30 years, is not an estimate.
_LONGEST_ETA_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rows a run has to end.

    :param total: their number, where it is known.
    :param at_least: rows that are known to be there.
    :param expected: their number, or what the bytes that were read so far tell of it.
    """

    total: int | None
    at_least: int
    expected: float | None


class ProgressMeter:
    """Makes progress reports.

    :param began: when the run began.
    """

    def __init__(self, job: BatchJob, source: Source, earlier: Earlier, tally: Tally, began: float) -> None:
        self._job = job
        self._reading = source.reading
        self._earlier = earlier
        self._tally = tally
        self._began = began
        self.count = RowCount(source.files, source.total, source.at_least)
        self._done = (began, 0)
        self._answered = deque([(began, 0)], _REMEMBERED)

    def progress(self, now: float, *, concurrency: int, rows_read: int, all_read: bool) -> Progress:
        """Return how far the run is.

        :param now: of the same clock as ``began``.
        :param concurrency: requests in flight at most.
        :param rows_read: rows of this shard that the run has read so far.
        :param all_read: whether these are all.
        """
        extent = self._extent(rows_read, all_read)
        done = self._tally.done
        (then, done_then), self._done = self._done, (now, done)
        rows = self._earlier.done.count + done
        eta = self._seconds_left(extent, rows, now)
        return Progress(
            rows=rows,
            total=extent.total,
            at_least=max(extent.at_least, rows),
            failed=self._tally.failed,
            errors=errors_of(self._tally.outcomes),
            rows_per_second=round((done - done_then) / (now - then), 1),
            concurrency=concurrency,
            eta_seconds=None if eta is None or eta > _LONGEST_ETA_SECONDS else round(eta, 1),
        )

    def _extent(self, rows_read: int, all_read: bool) -> Extent:
        if self._job.only_failed:
            wanted = self._earlier.done.count + self._earlier.failed.count_without(self._earlier.done)
            return Extent(wanted, wanted, wanted)
        if all_read:
            return Extent(rows_read, rows_read, rows_read)
        if self.count.total is not None:
            total = max(self._of_shard(self.count.total), rows_read)
            return Extent(total, total, total)
        part = self._reading.part
        return Extent(None, max(self._of_shard(self.count.at_least), rows_read), rows_read / part if part else None)

    def _of_shard(self, rows: int) -> int:
        return len(range(self._job.shard, rows, self._job.num_shards))

    def _seconds_left(self, extent: Extent, rows: int, now: float) -> float | None:
        """Return the seconds until the end, from the rows that a server has answered; nothing before the first."""
        answered = self._tally.done - self._tally.unsent
        then, answered_then = self._answered[0]
        self._answered.append((now, answered))
        if not (self._tally.answers and answered) or extent.expected is None:
            return None
        if answered == answered_then:
            then, answered_then = self._began, 0
        return max(0.0, extent.expected - rows) * (now - then) / (answered - answered_then)
