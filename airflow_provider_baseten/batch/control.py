"""How many requests in flight: a decision for each stretch of time, made from what the server did in the last one."""

import math
from dataclasses import dataclass, replace

START = 16
MOST = 1024

# Fewer would leave the server idle while an answer travels.
_FEWEST = 2

# Growing the number of requests by a factor f is worth it while it brings more than f ** 0.1 times the answers.
# What lies below only waits in the server's queue: latency grows, the rate does not.
_WORTH = 0.1
# Rates are known from answers that come by chance: of n answers within a part of 1 / sqrt(n). A difference tells
# something if it is so many times as large as that.
_SURE = 1.5
# Smaller growth is not measured.
_TELLING = 1.2
# From this factor on a step is large; of what may be chance, so much is let pass in a small one.
_LARGE = 1.5
_LITTLE = 0.25
# Up to this part of refused requests a limit is held.
_RARE = 0.005
_DOUBLING = 2.0
_STEP = 1.1
_PROBE = 1.25
# From a request to its answer.
_AT_ONCE_SECONDS = 0.5
_PATIENCE_SECONDS = 15.0
_MOST_PATIENCE_SECONDS = 240.0
_STRETCH_SECONDS = 0.3
# A stretch that leaves it open whether a limit is worth it goes on for so long.
_LONG_STRETCH_SECONDS = 15.0
_STRETCH_ANSWERS = 50
# The smaller the step, the more answers it takes to see what it does.
_SMALL_STEP_ANSWERS = 150
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

    The limit rises while that brings answers. If not even the first rise does, it falls while that costs none. Then it
    is held; when patience ends a little more is tried, since deployments get more replicas, and the next time a little
    less, since they lose some.

    :param limit: requests in flight at most.
    :param rising: whether more is tried than before.
    :param falling: whether less is tried than before.
    :param factor: by which the limit changes next. Doubled until the server refuses for the first time, then in small
        steps.
    :param last: the limit before this one, 0 if there is none that was good.
    :param base: the limit that this one is compared with, 0 if there is none.
    :param base_rate: answers a second at that limit.
    :param base_answers: how many answers that is known from.
    :param climbed: whether a rise was worth it, or the server has refused, so that less than this is known to be less.
    :param probes_less: whether less is tried when patience ends, and not more.
    :param patience: seconds to hold.
    :param since: when holding began.
    """

    limit: int = START
    rising: bool = True
    falling: bool = False
    factor: float = _DOUBLING
    last: int = 0
    base: int = 0
    base_rate: float = 0.0
    base_answers: int = 0
    climbed: bool = False
    probes_less: bool = False
    patience: float = _PATIENCE_SECONDS
    since: float = 0.0


def is_over(pace: Pace, sample: Sample, now: float) -> bool:
    """Tell whether a stretch has shown enough to decide on."""
    if _is_pressed(pace, sample):
        return True
    if sample.answers < _enough(pace):
        return False
    if not (pace.rising or pace.falling):
        return now - pace.since >= pace.patience or _is_slower(pace, sample)
    return sample.seconds >= (_LONG_STRETCH_SECONDS if _is_open(pace, sample) else _STRETCH_SECONDS)


def is_old(pace: Pace, sample: Sample) -> bool:
    """Tell whether a sample goes so far back that it hides what the server does now."""
    return sample.seconds >= _LONG_STRETCH_SECONDS and sample.answers >= _enough(pace)


def _enough(pace: Pace) -> int:
    measured = not pace.rising or pace.base == 0 or _is_compared(pace)
    small = measured and pace.factor < _DOUBLING
    return max(_SMALL_STEP_ANSWERS if small else _STRETCH_ANSWERS, 2 * pace.limit)


def next_pace(pace: Pace, sample: Sample, now: float) -> Pace:
    """Return the pace for the next stretch of time."""
    if _is_pressed(pace, sample):
        return _after_refusal(pace, now)
    if pace.rising:
        return _after_rise(pace, sample, now)
    if pace.falling:
        return _after_fall(pace, sample, now)
    return _probing(pace, sample)


def _is_pressed(pace: Pace, sample: Sample) -> bool:
    # Rising ends with the first refusal; any other limit goes down only if there is more than a rare one.
    return sample.refused > (0 if pace.rising else max(2, _RARE * sample.answers))


def _after_refusal(pace: Pace, now: float) -> Pace:
    if pace.rising and pace.last and pace.factor <= _STEP:
        return _held(pace, pace.last, now)
    # The last limit was good. Without one the server takes less than it did.
    limit = pace.last if pace.rising and pace.last else max(1, int(pace.limit * 0.8))
    return replace(pace, limit=limit, rising=True, falling=False, factor=_STEP, last=0, base=0, climbed=True)


def _after_rise(pace: Pace, sample: Sample, now: float) -> Pace:
    if not pace.base:
        return _raised(_based(pace, sample))
    if not _is_compared(pace):
        return _raised(pace)
    gain, noise = _gain(pace, sample), _noise(pace, sample)
    if pace.limit < MOST and gain > _needed(pace) + noise:
        return _raised(_based(replace(pace, factor=_faster(pace.factor), climbed=True), sample))
    if gain > noise:
        return _held(replace(pace, climbed=True), pace.limit, now)
    if not pace.climbed and _may_be_less(pace.base, pace.base_rate):
        return _lowered(replace(pace, limit=pace.base, factor=_DOUBLING))
    return _held(pace, pace.base, now)


def _after_fall(pace: Pace, sample: Sample, now: float) -> Pace:
    # A large step that costs answers costs many, so that what may be chance is not taken for them.
    chance = _noise(pace, sample) / _SURE * (1.0 if pace.base >= _LARGE * pace.limit else _LITTLE)
    if _gain(pace, sample) < _tolerated(pace) - chance:
        return _held(pace, pace.last, now)
    if pace.limit <= _FEWEST:
        return _held(pace, pace.limit, now)
    # The rate is the same, so that both stretches tell it.
    answers = pace.base_answers + sample.answers
    rate = (pace.base_rate * pace.base_answers + sample.rate * sample.answers) / answers
    based = replace(pace, base=pace.limit, base_rate=rate, base_answers=answers, patience=_PATIENCE_SECONDS)
    return _lowered(replace(based, factor=_faster(pace.factor)))


def _probing(pace: Pace, sample: Sample) -> Pace:
    slower = _is_slower(pace, sample)
    longer = _PATIENCE_SECONDS if slower else min(_MOST_PATIENCE_SECONDS, 2 * pace.patience)
    probe = replace(_based(pace, sample), patience=longer, factor=min(pace.factor, _PROBE), climbed=True)
    less = (pace.probes_less or slower) and _may_be_less(pace.limit, sample.rate)
    probe = replace(probe, probes_less=not less)
    return _lowered(replace(probe, factor=_PROBE)) if less else _raised(probe)


def _may_be_less(limit: int, rate: float) -> bool:
    """Tell whether less is worth a trial, which costs answers: where they come at once, nothing is gained."""
    return limit > _FEWEST and limit > _AT_ONCE_SECONDS * rate


def _is_compared(pace: Pace) -> bool:
    return pace.falling or (pace.base > 0 and pace.limit >= _TELLING * pace.base)


def _is_slower(pace: Pace, sample: Sample) -> bool:
    """Tell whether the server does far less than when the limit was found: it has lost replicas."""
    return pace.base > 0 and _gain(pace, sample) < -math.log(_DOUBLING)


def _is_open(pace: Pace, sample: Sample) -> bool:
    """Tell whether a longer stretch may show what this one does not."""
    if not _is_compared(pace):
        return False
    gain, noise = _gain(pace, sample), _noise(pace, sample)
    if pace.falling:
        return abs(gain - _tolerated(pace)) < noise / _SURE
    return _needed(pace) < gain <= _needed(pace) + noise


def _gain(pace: Pace, sample: Sample) -> float:
    """Return how much more answers a second there are, as a logarithm."""
    return math.log(max(sample.rate, 1e-9) / max(pace.base_rate, 1e-9))


def _noise(pace: Pace, sample: Sample) -> float:
    """Return what a gain may be by chance."""
    return _SURE * math.sqrt(1 / max(1, pace.base_answers) + 1 / max(1, sample.answers))


def _needed(pace: Pace) -> float:
    return _WORTH * math.log(pace.limit / pace.base)


def _tolerated(pace: Pace) -> float:
    return -_WORTH * math.log(pace.base / pace.limit)


def _faster(factor: float) -> float:
    return factor if factor <= _STEP else min(_DOUBLING, factor * factor)


def _based(pace: Pace, sample: Sample) -> Pace:
    return replace(
        pace, base=pace.limit, base_rate=sample.rate, base_answers=sample.answers, patience=_PATIENCE_SECONDS
    )


def _held(pace: Pace, limit: int, now: float) -> Pace:
    return replace(pace, limit=limit, rising=False, falling=False, since=now)


def _raised(pace: Pace) -> Pace:
    limit = min(MOST, max(pace.limit + 1, int(pace.limit * pace.factor)))
    return replace(pace, limit=limit, last=pace.limit, rising=True, falling=False)


def _lowered(pace: Pace) -> Pace:
    limit = max(_FEWEST, min(pace.limit - 1, int(pace.limit / pace.factor)))
    return replace(pace, limit=limit, last=pace.limit, rising=False, falling=True)


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

    A stretch begins when what was sent before the last decision, and at once after it, is answered: until then the
    queue of the server grows or shrinks, and latencies tell too high a rate. It is long enough to be told from chance.
    A refusal ends it, except while those are still to come that led to a lower limit.
    """

    def __init__(self, now: float) -> None:
        self.pace = Pace(since=now)
        self._begins = now
        self._begins_answers = 0
        self._began: float | None = None
        self._before = Counts()
        self._lowered = False

    def update(self, counts: Counts, now: float, *, starved: bool = False) -> int:
        """Return how many requests may be in flight from now on.

        :param counts: of the run so far.
        :param now: seconds of any clock.
        :param starved: whether rows come more slowly than the server takes them, which tells nothing of the server.
        """
        if starved and counts.refused == self._before.refused:
            self._began, self._before = None, counts
            return self.pace.limit
        if self._began is None and now >= self._begins and counts.answers >= self._begins_answers:
            refused = counts.refused if self._lowered else self._before.refused
            self._began, self._before = now, replace(counts, refused=refused)
        sample = self._sample(counts, now)
        if (self._began is not None and is_over(self.pace, sample, now)) or self._is_refused_at_once(sample):
            self._decide(sample, counts, now)
        elif is_old(self.pace, sample):
            self._began, self._before = now, counts
        return self.pace.limit

    def _sample(self, counts: Counts, now: float) -> Sample:
        refused = counts.refused - self._before.refused
        answers = counts.answers - self._before.answers
        if self._began is None or not answers:
            return Sample(answers=0, rate=0.0, refused=refused, seconds=0.0)
        seconds = max(now - self._began, 1e-6)
        # Answers come in waves, of which a stretch may see one more or less; their latency tells their rate as well.
        latency = (counts.seconds - self._before.seconds) / answers
        rate = min(1.25 * answers / seconds, self.pace.limit / max(latency, 1e-6))
        return Sample(answers=answers, rate=rate, refused=refused, seconds=seconds)

    def _is_refused_at_once(self, sample: Sample) -> bool:
        return self._began is None and self.pace.rising and not self._lowered and sample.refused > 0

    def _decide(self, sample: Sample, counts: Counts, now: float) -> None:
        before, self.pace = self.pace.limit, next_pace(self.pace, sample, now)
        self._lowered = self.pace.limit < before
        if self.pace.limit != before:
            self._begins = now + _SETTLE_SECONDS
            self._begins_answers = counts.answers + max(self.pace.limit, before)
        self._began, self._before = None, counts
