"""Statistics of a run: its requests, and the outcomes of its rows."""

import math
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from airflow_provider_baseten.client.observer import CallCounts

if TYPE_CHECKING:
    from airflow_provider_baseten.exceptions import BasetenError

_BUCKETS_PER_E = 20
_SHORTEST = 1e-4

# Largest number of ranges in a histogram.
_MAX_RANGES = 24

# Limits for the token counts that the server sends in the field ``usage`` of a response: largest count, number of
# counts, longest name of a count. The run copies the counts to the manifest and to XCom. The limits keep the manifest
# and XCom small, even if a response is wrong.
_MAX_TOKENS = 1 << 63
_MAX_KINDS = 50
_MAX_KIND_CHARACTERS = 100


class RequestStats:
    """Counts of requests. Only ``Sender`` changes the counts; other code reads them."""

    def __init__(self) -> None:
        self.sent = 0
        self.rejected = 0
        # Requests that were sent again, those that succeeded, and by error those that failed in their last attempt.
        self.retries = 0
        self.succeeded = 0
        self.errors: Counter[type[BasetenError]] = Counter()
        self.responses = 0
        self.response_seconds = 0.0
        self.usage: Counter[str] = Counter()
        self.latencies = Latencies()
        self._reported = self._totals()

    @property
    def latency(self) -> float:
        """Mean latency in seconds. Before the first response, it is assumed to be 0.1."""
        return self.response_seconds / self.responses if self.responses else 0.1

    def add_response(self, seconds: float) -> None:
        """Count a response.

        :param seconds: latency of the response.
        """
        self.responses += 1
        self.response_seconds += seconds
        self.latencies.add(seconds)

    def new_counts(self) -> CallCounts:
        """Return the counts since the last call of this method."""
        then, self._reported = self._reported, self._totals()
        now = self._reported
        return CallCounts(
            succeeded=now.succeeded - then.succeeded,
            errors=Counter(now.errors) - Counter(then.errors),
            retries=now.retries - then.retries,
            responses=now.responses - then.responses,
            response_seconds=now.response_seconds - then.response_seconds,
        )

    def _totals(self) -> CallCounts:
        return CallCounts(
            succeeded=self.succeeded,
            errors=self.errors.copy(),
            retries=self.retries,
            responses=self.responses,
            response_seconds=self.response_seconds,
        )

    def add_usage(self, output: object) -> None:
        """Add the token counts in the field ``usage`` of a response. Values that can't be a count are left out.

        :param output: decoded response; it is ignored if it is not an object with ``usage``.
        """
        usage = output.get("usage") if isinstance(output, dict) else None
        for kind, count in usage.items() if isinstance(usage, dict) else ():
            total = self.usage[kind] + count if type(count) is int and count >= 0 else _MAX_TOKENS
            if total < _MAX_TOKENS and (kind in self.usage or self._is_kind(kind)):
                self.usage[kind] = total

    def _is_kind(self, kind: str) -> bool:
        return kind.isidentifier() and len(kind) <= _MAX_KIND_CHARACTERS and len(self.usage) < _MAX_KINDS


class OutcomeStats:
    """Counts of rows by outcome: success, or the type of the error."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        # Number of failed rows for which no request was sent.
        self.unsent = 0

    @property
    def done(self) -> int:
        """Number of rows with an outcome."""
        return self.outcomes.total()

    @property
    def succeeded(self) -> int:
        """Number of rows with an output."""
        return self.outcomes["success"]

    @property
    def failed(self) -> int:
        """Number of rows that have failed."""
        return self.outcomes.total() - self.outcomes["success"]


class Latencies:
    """Percentiles of latencies, exact to 5 %.

    The latencies are counted in a fixed number of ranges, so the memory does not grow with the number of latencies.
    """

    def __init__(self) -> None:
        self._counts = [0] * 400
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Add a latency."""
        bucket = int(math.log(seconds / _SHORTEST) * _BUCKETS_PER_E) if seconds > _SHORTEST else 0
        self._counts[min(bucket, 399)] += 1
        self._longest = max(self._longest, seconds)

    def summary(self) -> dict[str, float]:
        """Return ``p50``, ``p90``, ``p99`` and ``max`` in seconds, or an empty dictionary if no latency was added."""
        if not any(self._counts):
            return {}
        found = {f"p{percent}": round(self._percentile(percent / 100), 4) for percent in (50, 90, 99)}
        return found | {"max": round(self._longest, 4)}

    def histogram(self) -> list[tuple[float, int]]:
        """Return the upper bounds in seconds of at most 24 ranges, and the number of latencies in each.

        The ranges have the same width on a logarithmic scale, and cover the latencies so far.
        """
        used = [bucket for bucket, count in enumerate(self._counts) if count]
        if not used:
            return []
        width = (used[-1] - used[0]) // _MAX_RANGES + 1
        starts = range(used[0], used[-1] + 1, width)
        return [
            (round(_SHORTEST * math.exp((start + width) / _BUCKETS_PER_E), 4), sum(self._counts[start : start + width]))
            for start in starts
        ]

    def _percentile(self, part: float) -> float:
        up_to = list(accumulate(self._counts))
        bucket = bisect_left(up_to, part * up_to[-1])
        return min(_SHORTEST * math.exp((bucket + 0.5) / _BUCKETS_PER_E), self._longest)
