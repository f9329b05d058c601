"""How many requests in flight: a decision for each stretch of time, made from what the server did in the last one."""

import math
from dataclasses import dataclass, replace
from typing import Literal

START = 16
MOST = 1024

# Growing the number of requests by a factor f is worth it while it brings more than f ** 0.1 times the answers.
# What lies below only waits in the server's queue: latency grows, the rate does not.
_WORTH = 0.1
_PATIENCE_SECONDS = 10.0
_MOST_PATIENCE_SECONDS = 160.0
_STRETCH_SECONDS = 0.3
_STRETCH_ANSWERS = 50
_SETTLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server did in a stretch of time with a constant number of requests in flight.

    :param rate: answers a second, refusals not counted.
    :param refused: answers 429 and 529.
    """

    rate: float
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many requests may be in flight now, and what led to it.

    :param limit: requests in flight at most.
    :param phase: ``rising`` while more is tried, ``holding`` once it has brought nothing, ``probing`` for one stretch
        now and then, since servers get more replicas.
    :param factor: by which the limit grows.
    :param good: the last limit that was worth its requests, 0 if there is none.
    :param good_rate: answers a second at that limit.
    :param patience: seconds to hold before the next probe.
    :param since: when this phase began.
    """

    limit: int = START
    phase: Literal["rising", "holding", "probing"] = "rising"
    factor: float = 2.0
    good: int = 0
    good_rate: float = 0.0
    patience: float = _PATIENCE_SECONDS
    since: float = 0.0


def next_pace(pace: Pace, sample: Sample, now: float) -> Pace:
    """Return the pace for the next stretch of time."""
    if sample.refused:
        return _after_refusal(pace, now)
    if pace.phase == "holding":
        return _after_holding(pace, sample, now)
    if _worth(pace, sample) and pace.limit < MOST:
        return replace(pace, phase="rising", limit=_more(pace), good=pace.limit, good_rate=sample.rate, since=now)
    return _back(pace, sample, now)


def _after_refusal(pace: Pace, now: float) -> Pace:
    # What was good before is known; from there on in small steps. Refused without having grown: the server takes less.
    grown = pace.phase != "holding" and 0 < pace.good < pace.limit
    limit = pace.good if grown else max(1, int(pace.limit * 0.8))
    if grown and pace.factor < 1.2:
        longer = min(_MOST_PATIENCE_SECONDS, pace.patience * 2) if pace.phase == "probing" else pace.patience
        return replace(pace, phase="holding", limit=limit, patience=longer, since=now)
    return replace(pace, phase="rising", limit=limit, factor=1.1, good=0, good_rate=0.0, since=now)


def _after_holding(pace: Pace, sample: Sample, now: float) -> Pace:
    if now - pace.since < pace.patience or pace.limit >= MOST:
        return replace(pace, good=pace.limit, good_rate=sample.rate)
    factor = min(pace.factor, 1.25)
    probe = replace(pace, phase="probing", factor=factor, good=pace.limit, good_rate=sample.rate, since=now)
    return replace(probe, limit=_more(probe))


def _back(pace: Pace, sample: Sample, now: float) -> Pace:
    """Hold the last good limit, or this one if it is faster all the same."""
    faster = pace.good == 0 or sample.rate > 1.03 * pace.good_rate
    longer = min(_MOST_PATIENCE_SECONDS, pace.patience * 2) if pace.phase == "probing" else pace.patience
    return replace(pace, phase="holding", limit=pace.limit if faster else pace.good, patience=longer, since=now)


def _worth(pace: Pace, sample: Sample) -> bool:
    if pace.good == 0 or not pace.good_rate:
        return True
    return math.log(max(sample.rate, 1e-9) / pace.good_rate) > _WORTH * math.log(pace.limit / pace.good)


def _more(pace: Pace) -> int:
    return min(MOST, max(pace.limit + 1, int(pace.limit * pace.factor)))


class Pacer:
    """Cuts time into stretches and decides after each of them.

    A stretch begins when requests that were sent before it are answered, and is long enough to be told from chance. It
    ends early when the server refuses.
    """

    def __init__(self, now: float) -> None:
        self.pace = Pace(since=now)
        self._begins = now
        self._before: tuple[float, int, float, int] | None = None

    def update(self, answers: int, seconds: float, refused: int, now: float) -> int:
        """Return how many requests may be in flight from now on.

        :param answers: of the run so far.
        :param seconds: that they have taken, summed.
        :param refused: requests of the run so far that were refused.
        """
        if self._before is None:
            if now >= self._begins:
                self._before = (now, answers, seconds, refused)
            return self.pace.limit
        began, answers_before, seconds_before, refused_before = self._before
        count = answers - answers_before
        enough = now - began >= _STRETCH_SECONDS and count >= max(_STRETCH_ANSWERS, 2 * self.pace.limit)
        if not enough and refused == refused_before:
            return self.pace.limit
        sample = Sample(rate=count / max(now - began, 1e-3), refused=refused - refused_before)
        before, self.pace = self.pace, next_pace(self.pace, sample, now)
        latency = (seconds - seconds_before) / count if count else 0.0
        self._before = None
        self._begins = now if self.pace.limit == before.limit else now + max(latency, _SETTLE_SECONDS)
        return self.pace.limit
