"""Numbers of a run until it ends."""

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

_BUCKETS_PER_E = 20
_SHORTEST = 1e-4

# What a server says of its usage goes into the manifest and into XCom, so it is bounded.
_MOST_TOKENS = 1 << 63
_MOST_KINDS = 50
_LONGEST_KIND = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    :param rows: rows with an outcome, those of earlier runs included.
    :param total: rows that have one at the end, of this shard; ``None`` where that is not known yet.
    :param at_least: rows of this shard that are known to be there; ``total`` where that is known.
    :param failed: rows of this run that have failed.
    :param errors: how many of them with which type of error.
    :param rows_per_second: since the last progress.
    :param concurrency: requests in flight at most.
    :param eta_seconds: until the end, from the rows that were answered in the last minute; ``None`` before the first
        answer, and where nothing tells how many rows there are.
    """

    rows: int
    total: int | None
    at_least: int
    failed: int
    errors: dict[str, int]
    rows_per_second: float
    concurrency: int
    eta_seconds: float | None


class Tally:
    """Counts of a run.

    :param began: when it began.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self.sent = 0
        self.refused = 0
        self.answers = 0
        # Rows that have failed here, so that nothing was sent for them.
        self.unsent = 0
        self.seconds = 0.0
        self.outcomes: Counter[str] = Counter()
        self.usage: Counter[str] = Counter()
        self.latencies = Latencies()

    @property
    def done(self) -> int:
        """Rows with an outcome."""
        return self.outcomes.total()

    @property
    def failed(self) -> int:
        """Rows that have failed."""
        return self.outcomes.total() - self.outcomes["success"]

    @property
    def latency(self) -> float:
        """Mean seconds from a request to its answer; a guess before the first."""
        return self.seconds / self.answers if self.answers else 0.1

    def add_usage(self, answer: object) -> None:
        """Add the tokens that an answer says it cost; leave out what can't be a count."""
        usage = answer.get("usage") if isinstance(answer, dict) else None
        for kind, count in usage.items() if isinstance(usage, dict) else ():
            total = self.usage[kind] + count if type(count) is int and count >= 0 else _MOST_TOKENS
            if total < _MOST_TOKENS and (kind in self.usage or self._is_kind(kind)):
                self.usage[kind] = total

    def _is_kind(self, kind: str) -> bool:
        return kind.isidentifier() and len(kind) <= _LONGEST_KIND and len(self.usage) < _MOST_KINDS

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        self.answers += 1
        self.seconds += seconds
        self.latencies.add(seconds)


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
        up_to = list(accumulate(self._counts))
        bucket = bisect_left(up_to, part * up_to[-1])
        return min(_SHORTEST * math.exp((bucket + 0.5) / _BUCKETS_PER_E), self._longest)
