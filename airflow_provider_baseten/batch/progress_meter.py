"""Measurement of a run's progress: finished rows, rows in all, and the time left."""

from collections import deque
from dataclasses import dataclass

from airflow_provider_baseten.batch.failed_rows import errors_of
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.previous_runs import PreviousRuns
from airflow_provider_baseten.batch.progress import Progress
from airflow_provider_baseten.batch.row_count import RowCount
from airflow_provider_baseten.batch.row_source import RowSource
from airflow_provider_baseten.batch.run_stats import OutcomeStats, RequestStats

# The time left is estimated from this many of the latest progress reports. They cover about one minute.
_REMEMBERED = 7

# The last report may follow an earlier one at once; its rate counts over at least this time.
_SHORTEST_SECONDS = 0.1

# Longest estimate that is reported, about 30 years. A longer one is useless.
_MAX_ETA_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class RowTotal:
    """Number of rows of a shard, as far as it is known.

    :param total: the number of rows, if it is known.
    :param at_least: number of rows that were found so far; the total is not smaller.
    :param expected: the number of rows if it is known, otherwise an estimate from the fraction of the bytes that was
        read so far. ``None`` while there is no estimate.
    """

    total: int | None
    at_least: int
    expected: float | None


class ProgressMeter:
    """Makes progress reports.

    :param began: time at which the run began, in seconds.
    """

    def __init__(
        self,
        job: BatchJob,
        source: RowSource,
        previous: PreviousRuns,
        requests: RequestStats,
        rows: OutcomeStats,
        *,
        began: float,
    ) -> None:
        self._job = job
        self._read_progress = source.read_progress
        self._previous = previous
        self._requests = requests
        self._rows = rows
        self._began = began
        self.count = RowCount(source.files, source.total, source.at_least)
        self._done = (began, 0)
        self._finished = deque([(began, 0)], _REMEMBERED)

    def progress(
        self, now: float, *, concurrency: int, rows_read: int, all_read: bool, is_last: bool = False
    ) -> Progress:
        """Return the progress of the run.

        :param now: time, by the same clock as ``began``.
        :param concurrency: maximum number of requests in flight.
        :param rows_read: rows of this shard that the run has read so far.
        :param all_read: whether the run has read all rows of this shard.
        :param is_last: whether this is the last report of the run.
        """
        total = self._row_total(rows_read, all_read)
        done = self._rows.done
        (then, done_then), self._done = self._done, (now, done)
        rows = self._previous.done.count + done
        eta = self._seconds_left(total, rows, now)
        return Progress(
            rows=rows,
            total=total.total,
            at_least=max(total.at_least, rows),
            failed=self._rows.failed,
            errors=errors_of(self._rows.outcomes),
            rows_per_second=round((done - done_then) / max(now - then, _SHORTEST_SECONDS), 1),
            concurrency=concurrency,
            eta_seconds=None if eta is None or eta > _MAX_ETA_SECONDS else round(eta, 1),
            latencies=self._requests.latencies.histogram(),
            is_last=is_last,
        )

    def _row_total(self, rows_read: int, all_read: bool) -> RowTotal:
        if self._job.only_failed:
            wanted = self._previous.done.count + self._previous.failed.count_without(self._previous.done)
            return RowTotal(wanted, wanted, wanted)
        if all_read:
            return RowTotal(rows_read, rows_read, rows_read)
        if self.count.total is not None:
            total = max(self._of_shard(self.count.total), rows_read)
            return RowTotal(total, total, total)
        fraction = self._read_progress.fraction
        return RowTotal(
            None, max(self._of_shard(self.count.at_least), rows_read), rows_read / fraction if fraction else None
        )

    def _of_shard(self, rows: int) -> int:
        return len(range(self._job.shard, rows, self._job.num_shards))

    def _seconds_left(self, total: RowTotal, rows: int, now: float) -> float | None:
        """Return the estimated seconds until the end.

        Return ``None`` before the first response, and while the number of rows can't be estimated.

        :param rows: rows that are done, including those of previous runs.
        :param now: time, by the same clock as ``began``.
        """
        finished = self._rows.done - self._rows.unsent
        then, finished_then = self._finished[0]
        self._finished.append((now, finished))
        if not (self._requests.responses and finished) or total.expected is None:
            return None
        if finished == finished_then:
            then, finished_then = self._began, 0
        return max(0.0, total.expected - rows) * (now - then) / (finished - finished_then)
