"""Progress of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    :param rows: rows with an outcome, including those of earlier runs.
    :param total: number of this shard's rows; ``None`` until it is known.
    :param at_least: rows of this shard that are known to exist; equal to ``total`` once that is known.
    :param failed: rows of this run that have failed.
    :param errors: these failed rows by type of error.
    :param rows_per_second: rate since the last progress.
    :param concurrency: maximum number of requests in flight.
    :param eta_seconds: estimated time left, from the rows that were answered in the last minute; ``None`` before the
        first response, and while the number of rows can't be estimated.
    """

    rows: int
    total: int | None
    at_least: int
    failed: int
    errors: dict[str, int]
    rows_per_second: float
    concurrency: int
    eta_seconds: float | None
