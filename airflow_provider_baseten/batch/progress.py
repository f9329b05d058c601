"""How a run is going, in numbers."""

import math
from dataclasses import dataclass

_BUCKETS_PER_E = 20
_SHORTEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    :param rows: rows with an outcome, those of earlier runs included.
    :param total: rows of this shard, where it is known before the end.
    :param failed: rows of this run that have failed.
    :param rows_per_second: since the last progress.
    :param concurrency: requests in flight at most.
    :param eta_seconds: until the end, where it can be told.
    """

    rows: int
    total: int | None
    failed: int
    rows_per_second: float
    concurrency: int
    eta_seconds: float | None


class Latencies:
    """Percentiles of times, from counts on a logarithmic scale: within 5 % and of constant size."""

    def __init__(self) -> None:
        self._counts = [0] * 400
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Add a time."""
        bucket = int(math.log(seconds / _SHORTEST) * _BUCKETS_PER_E) if seconds > _SHORTEST else 0
        self._counts[min(bucket, 399)] += 1
        self._longest = max(self._longest, seconds)

    def summary(self) -> dict[str, float]:
        """Return ``p50``, ``p90``, ``p99`` and ``max`` in seconds, empty without any time."""
        if not any(self._counts):
            return {}
        found = {f"p{percent}": round(self._percentile(percent / 100), 4) for percent in (50, 90, 99)}
        return found | {"max": round(self._longest, 4)}

    def _percentile(self, part: float) -> float:
        wanted = part * sum(self._counts)
        for bucket, count in enumerate(self._counts):
            wanted -= count
            if wanted <= 0:
                break
        return min(_SHORTEST * math.exp((bucket + 0.5) / _BUCKETS_PER_E), self._longest)
