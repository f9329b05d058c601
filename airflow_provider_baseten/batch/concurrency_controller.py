"""Controller of the concurrency limit during a run."""

from dataclasses import dataclass, replace

from airflow_provider_baseten.batch.concurrency import (
    ConcurrencyState,
    Window,
    is_window_over,
    is_window_stale,
    next_state,
)

# Seconds after a change of the limit in which nothing is measured.
_SETTLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Counts of a run since it began.

    :param responses: number of responses, without rejections (429 or 529).
    :param seconds: sum of the latencies of these responses, in seconds.
    :param rejected: number of rejections.
    """

    responses: int = 0
    seconds: float = 0.0
    rejected: int = 0


class ConcurrencyController:
    """Splits a run into measurement windows, and sets the concurrency limit after each window.

    The rate of a window is computed from the limit and the latency. After a change of the limit, the first responses
    still have the latency of the old limit, so the rate would be wrong. For this reason the next window begins only
    when the number of responses since the change has reached the larger of the old and the new limit. A window ends
    when it has measured enough for a decision, or early if there are too many rejections. After a decrease of the
    limit, rejections before the window begins do not count, because their requests were sent under the higher limit.
    """

    def __init__(self, now: float) -> None:
        self.state = ConcurrencyState(held_since=now)
        self._begins = now
        self._begins_responses = 0
        self._window_began: float | None = None
        self._before = RequestCounts()
        self._lowered = False

    def update(self, counts: RequestCounts, now: float, *, starved: bool = False) -> int:
        """Take new counts, and return how many requests may be in flight from now on.

        :param counts: counts of the run so far.
        :param now: time in seconds, always by the same clock.
        :param starved: whether rows are read more slowly than the server takes them. If so, measurements say nothing
            about the server, and the measurement window begins again, unless it has new rejections.
        """
        if starved and counts.rejected == self._before.rejected:
            self._window_began, self._before = None, counts
            return self.state.limit
        if self._window_began is None and now >= self._begins and counts.responses >= self._begins_responses:
            rejected = counts.rejected if self._lowered else self._before.rejected
            self._window_began, self._before = now, replace(counts, rejected=rejected)
        window = self._window(counts, now)
        if (self._window_began is not None and is_window_over(self.state, window, now)) or self._is_rejected_at_once(
            window
        ):
            self._decide(window, counts, now)
        elif is_window_stale(self.state, window):
            self._window_began, self._before = now, counts
        return self.state.limit

    def _window(self, counts: RequestCounts, now: float) -> Window:
        rejected = counts.rejected - self._before.rejected
        responses = counts.responses - self._before.responses
        if self._window_began is None or not responses:
            return Window(responses=0, rate=0.0, rejected=rejected, seconds=0.0)
        seconds = max(now - self._window_began, 1e-6)
        # Responses come in waves. A window may contain one wave too many or too few, so the counted rate is not exact.
        # If as many requests are in flight as the limit allows, the limit divided by the latency is more exact. If
        # fewer are in flight, this quotient is too high. So it is used only up to 1.25 times the counted rate.
        latency = (counts.seconds - self._before.seconds) / responses
        rate = min(1.25 * responses / seconds, self.state.limit / max(latency, 1e-6))
        return Window(responses=responses, rate=rate, rejected=rejected, seconds=seconds)

    def _is_rejected_at_once(self, window: Window) -> bool:
        return self._window_began is None and self.state.is_rising and not self._lowered and window.rejected > 0

    def _decide(self, window: Window, counts: RequestCounts, now: float) -> None:
        before, self.state = self.state.limit, next_state(self.state, window, now)
        self._lowered = self.state.limit < before
        if self.state.limit != before:
            self._begins = now + _SETTLE_SECONDS
            self._begins_responses = counts.responses + max(self.state.limit, before)
        self._window_began, self._before = None, counts
