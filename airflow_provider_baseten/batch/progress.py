"""Progress of a run."""

from dataclasses import dataclass, field
from datetime import timedelta

from airflow_provider_baseten.batch.failed_rows import listed

# Rates below this many rows per second are printed with a decimal.
_SLOW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run. ``str()`` makes a line for the log.

    :param rows: number of rows that have an output from this or an earlier run, or have failed in this run.
    :param total: number of this shard's rows; ``None`` until it is known.
    :param at_least: number of this shard's rows that were found so far; equal to ``total`` once that is known.
    :param failed: number of rows that have failed in this run.
    :param errors: number of these failed rows by type of error.
    :param rows_per_second: rate since the previous progress report, of the rows that got an output or failed.
    :param concurrency: maximum number of requests in flight.
    :param eta_seconds: seconds left, estimated from the rows that got a response in the last minute; ``None`` before
        the first response, and while the number of rows can't be estimated.
    :param latencies: histogram of the seconds from request to response: ``(upper bound, number of responses)``, at most
        24 ranges.
    :param is_last: whether this is the last report of the run.
    """

    rows: int
    total: int | None
    at_least: int
    failed: int
    errors: dict[str, int]
    rows_per_second: float
    concurrency: int
    eta_seconds: float | None
    latencies: list[tuple[float, int]] = field(default_factory=list)
    is_last: bool = False

    def __str__(self) -> str:
        """Return the numbers as a sentence."""
        total = f" of at least {self.at_least:,}" if self.total is None else f" of {self.total:,}"
        errors = f" ({listed(self.errors)})" if self.errors else ""
        left = "" if self.eta_seconds is None else f", {timedelta(seconds=round(self.eta_seconds))} left"
        return (
            f"{self.rows:,}{total} rows, {_rate(self.rows_per_second)} rows/s, {self.failed:,} failed{errors}, "
            f"at most {self.concurrency} requests in flight{left}."
        )


def _rate(rows_per_second: float) -> str:
    return f"{rows_per_second:.1f}" if 0 < rows_per_second < _SLOW else f"{rows_per_second:,.0f}"
