"""How many requests in flight: a decision for each stretch of time, made from what the server did in the last one."""

import math
from dataclasses import dataclass, replace

START = 16
MOST = 1024

# Growing the number of requests by a factor f is worth it while it brings more than f ** 0.1 times the answers.
# What lies below only waits in the server's queue: latency grows, the rate does not.
_WORTH = 0.1
# Smaller growth can't be told from chance.
_TELLING = 1.2
# Up to this part of refused requests a limit is held.
_RARE = 0.005
_DOUBLING = 2.0
_STEP = 1.1
_PROBE = 1.25
_PATIENCE_SECONDS = 15.0
_MOST_PATIENCE_SECONDS = 240.0
_STRETCH_SECONDS = 0.3
_STRETCH_ANSWERS = 50
_SETTLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server did in a stretch of time with a constant number of requests in flight.

    :param answers: requests that were answered and not refused.
    :param rate: these answers a second.
    :param refused: requests that were refused, with 429 or 529.
    :param seconds: how long it was.
    """

    answers: int
    rate: float
    refused: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many requests may be in flight now, and what led to it.

    :param limit: requests in flight at most.
    :param rising: whether more is tried; otherwise the limit is held, and a little more tried when patience ends, since
        deployments get more replicas.
    :param factor: by which the limit grows: doubled until the server refuses for the first time, then in small steps.
    :param last: the limit before this one, 0 if there is none that was good.
    :param base: the limit that this one is compared with, 0 if there is none.
    :param base_rate: answers a second at that limit.
    :param patience: seconds to hold.
    :param since: when holding began.
    """

    limit: int = START
    rising: bool = True
    factor: float = _DOUBLING
    last: int = 0
    base: int = 0
    base_rate: float = 0.0
    patience: float = _PATIENCE_SECONDS
    since: float = 0.0


def is_over(pace: Pace, sample: Sample, now: float) -> bool:
    """Tell whether a stretch has shown enough to decide on."""
    if _is_pressed(pace, sample):
        return True
    long_enough = sample.seconds >= _STRETCH_SECONDS if pace.rising else now - pace.since >= pace.patience
    return long_enough and sample.answers >= max(_STRETCH_ANSWERS, 2 * pace.limit)


def next_pace(pace: Pace, sample: Sample, now: float) -> Pace:
    """Return the pace for the next stretch of time."""
    if _is_pressed(pace, sample):
        return _after_refusal(pace, now)
    if not pace.rising:
        return _probing(pace, sample)
    if pace.base and pace.limit < _TELLING * pace.base:
        return _raised(pace)
    if not pace.base or _is_worth_it(pace, sample):
        return _raised(replace(pace, base=pace.limit, base_rate=sample.rate, patience=_PATIENCE_SECONDS))
    return _held(pace, pace.limit if sample.rate > 1.03 * pace.base_rate else pace.base, now)


def _is_pressed(pace: Pace, sample: Sample) -> bool:
    # Rising ends with the first refusal; a limit that is held goes down only if there is more than a rare one.
    return sample.refused > (0 if pace.rising else max(2, _RARE * sample.answers))


def _after_refusal(pace: Pace, now: float) -> Pace:
    if pace.rising and pace.last and pace.factor <= _STEP:
        return _held(pace, pace.last, now)
    # The last limit was good. Without one the server takes less than it did.
    limit = pace.last if pace.rising and pace.last else max(1, int(pace.limit * 0.8))
    return replace(pace, limit=limit, rising=True, factor=_STEP, last=0, base=0)


def _probing(pace: Pace, sample: Sample) -> Pace:
    longer = min(_MOST_PATIENCE_SECONDS, 2 * pace.patience)
    probe = replace(pace, base=pace.limit, base_rate=sample.rate, patience=longer, factor=min(pace.factor, _PROBE))
    return _raised(probe)


def _held(pace: Pace, limit: int, now: float) -> Pace:
    return replace(pace, limit=limit, rising=False, since=now)


def _is_worth_it(pace: Pace, sample: Sample) -> bool:
    gain = max(sample.rate, 1e-9) / max(pace.base_rate, 1e-9)
    return pace.limit < MOST and math.log(gain) > _WORTH * math.log(pace.limit / pace.base)


def _raised(pace: Pace) -> Pace:
    limit = min(MOST, max(pace.limit + 1, int(pace.limit * pace.factor)))
    return replace(pace, limit=limit, last=pace.limit, rising=True)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run has seen so far.

    :param answers: requests that were answered and not refused.
    :param seconds: that these answers have taken, summed.
    :param refused: requests that were refused.
    """

    answers: int = 0
    seconds: float = 0.0
    refused: int = 0


class Pacer:
    """Cuts time into stretches and decides after each of them.

    A stretch begins when what was sent before the last decision is answered, and is long enough to be told from chance.
    A refusal ends it, except while those are still to come that led to a lower limit.
    """

    def __init__(self, now: float) -> None:
        self.pace = Pace(since=now)
        self._begins = now
        self._began: float | None = None
        self._before = Counts()
        self._lowered = False
        self._latency = 0.0

    def update(self, counts: Counts, now: float) -> int:
        """Return how many requests may be in flight from now on."""
        if self._began is None and now >= self._begins:
            refused = counts.refused if self._lowered else self._before.refused
            self._began, self._before = now, replace(counts, refused=refused)
        sample = self._sample(counts, now)
        if (self._began is not None and is_over(self.pace, sample, now)) or self._is_refused_at_once(sample):
            self._decide(sample, counts, now)
        return self.pace.limit

    def _sample(self, counts: Counts, now: float) -> Sample:
        refused = counts.refused - self._before.refused
        answers = counts.answers - self._before.answers
        if self._began is None or not answers:
            return Sample(answers=0, rate=0.0, refused=refused, seconds=0.0)
        seconds = max(now - self._began, 1e-6)
        # Answers come in waves, of which a stretch may see one more or less; their latency tells their rate as well.
        self._latency = (counts.seconds - self._before.seconds) / answers
        rate = min(1.25 * answers / seconds, self.pace.limit / max(self._latency, 1e-6))
        return Sample(answers=answers, rate=rate, refused=refused, seconds=seconds)

    def _is_refused_at_once(self, sample: Sample) -> bool:
        return self._began is None and self.pace.rising and not self._lowered and sample.refused > 0

    def _decide(self, sample: Sample, counts: Counts, now: float) -> None:
        before, self.pace = self.pace.limit, next_pace(self.pace, sample, now)
        self._lowered = self.pace.limit < before
        self._begins = now if self.pace.limit == before else now + max(self._latency, _SETTLE_SECONDS)
        self._began, self._before = None, counts
