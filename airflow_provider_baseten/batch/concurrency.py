"""Concurrency limit of a bulk run: pure functions that choose the next limit from measurements at the present limit.

The limit is the maximum number of requests in flight. A window is a period with a constant limit. During a window,
responses and rejections are counted.
"""

import math
from dataclasses import dataclass, replace

from airflow_provider_baseten.batch.job import MAX_CONCURRENCY

INITIAL_LIMIT = 16

# With only one request in flight, the server would be idle while the response travels.
_MIN_LIMIT = 2

# After the limit was raised by a factor f, it is kept only if the rate of responses grew by a factor of more than
# f ** 0.1. Otherwise the extra requests only wait in the server's queue: the latency grows, the rate does not.
_REQUIRED_GAIN = 0.1
# The relative error of a rate that is measured with n responses is about 1 / sqrt(n). Two rates count as different if
# they differ by more than their error times this factor.
_CONFIDENCE = 1.5
# The rates at two limits are compared only if one limit is at least this factor times the other. The effect of a
# smaller increase can't be measured.
_MEASURABLE_STEP = 1.2
# A decrease of the limit by this factor or more is a large step. If the rate seems to fall after a decrease, the fall
# may lie within the margin of error. After a large step, a fall within this margin is ignored. After a small step, only
# a fall within _SMALL_STEP_SHARE of the margin is ignored.
_LARGE_STEP = 1.5
_SMALL_STEP_SHARE = 0.25
# Share of rejected requests up to which the limit is not lowered. While the limit rises, no rejection is tolerated.
_RARE_REJECTIONS = 0.005
_DOUBLING = 2.0
_STEP = 1.1
_PROBE = 1.25
# Latency in seconds up to which a response counts as immediate.
_INSTANT_SECONDS = 0.5
_HOLD_SECONDS = 15.0
_MAX_HOLD_SECONDS = 240.0
_WINDOW_SECONDS = 0.3
# If the result of a window is not clear yet, the window is extended up to this length.
_LONG_WINDOW_SECONDS = 15.0
_WINDOW_RESPONSES = 50
# Number of responses after which the effect of a small step can be seen. A large step needs fewer.
_SMALL_STEP_RESPONSES = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Measurements of the server during a time with a constant limit.

    :param responses: number of responses, without rejections (429 or 529).
    :param rate: these responses per second.
    :param rejected: number of rejections.
    :param seconds: length of the window in seconds.
    """

    responses: int
    rate: float
    rejected: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyState:
    """The concurrency limit, and the measurements that led to it.

    The limit is raised as long as each rise increases the rate of responses. If even the first rise has no effect, the
    limit is lowered as long as the rate stays the same. Then the limit is held for ``hold_seconds``. After that a
    slightly higher limit is tried, because the deployment may have more replicas by then. After the next hold a
    slightly lower limit is tried, because the deployment may have fewer replicas.

    :param limit: maximum number of requests in flight.
    :param is_rising: whether a higher limit than before is being tried. It is also ``True`` for the initial limit and
        for the limit after a rejection, because the next change raises them.
    :param is_falling: whether a lower limit than before is being tried.
    :param factor: factor by which the next change raises or lowers the limit. The factor is 2 at first. It is smaller
        after a rejection, and for the first change after a hold.
    :param previous: the limit before this one; 0 if there was none, or if the server rejected requests at that limit.
    :param baseline: the limit that this one is compared with; 0 if there is none.
    :param baseline_rate: responses per second at the baseline.
    :param baseline_responses: number of responses from which the baseline's rate was computed.
    :param has_climbed: whether a rise has ever increased the rate, the server has ever rejected requests, or a hold has
        ended. If a rise has no effect and this is ``False``, lower limits are tried, unless responses are fast. If it
        is ``True``, the limit returns to the baseline and is held.
    :param probes_lower: whether the next trial after holding is a lower limit.
    :param hold_seconds: how long the limit is held.
    :param held_since: when holding began, in seconds of the caller's clock.
    """

    limit: int = INITIAL_LIMIT
    is_rising: bool = True
    is_falling: bool = False
    factor: float = _DOUBLING
    previous: int = 0
    baseline: int = 0
    baseline_rate: float = 0.0
    baseline_responses: int = 0
    has_climbed: bool = False
    probes_lower: bool = False
    hold_seconds: float = _HOLD_SECONDS
    held_since: float = 0.0


def is_window_over(state: ConcurrencyState, window: Window, now: float) -> bool:
    """Return whether a window has measured enough to decide about the next limit."""
    if _is_overloaded(state, window):
        return True
    if window.responses < _responses_needed(state):
        return False
    if not (state.is_rising or state.is_falling):
        return now - state.held_since >= state.hold_seconds or _is_slower(state, window)
    return window.seconds >= (_LONG_WINDOW_SECONDS if _is_undecided(state, window) else _WINDOW_SECONDS)


def is_window_stale(state: ConcurrencyState, window: Window) -> bool:
    """Return whether a window is so long that its oldest measurements hide the server's present state."""
    return window.seconds >= _LONG_WINDOW_SECONDS and window.responses >= _responses_needed(state)


def _responses_needed(state: ConcurrencyState) -> int:
    measured = not state.is_rising or state.baseline == 0 or _is_compared(state)
    small = measured and state.factor < _DOUBLING
    return max(_SMALL_STEP_RESPONSES if small else _WINDOW_RESPONSES, 2 * state.limit)


def next_state(state: ConcurrencyState, window: Window, now: float) -> ConcurrencyState:
    """Return the state for the next window."""
    if _is_overloaded(state, window):
        return _after_rejection(state, now)
    if state.is_rising:
        return _after_rise(state, window, now)
    if state.is_falling:
        return _after_fall(state, window, now)
    return _probing(state, window)


def _is_overloaded(state: ConcurrencyState, window: Window) -> bool:
    # While the limit rises, one rejection is too many. At other times rare rejections are tolerated.
    return window.rejected > (0 if state.is_rising else max(2, _RARE_REJECTIONS * window.responses))


def _after_rejection(state: ConcurrencyState, now: float) -> ConcurrencyState:
    if state.is_rising and state.previous and state.factor <= _STEP:
        return _held(state, state.previous, now)
    # If a raised limit is being tried, return to the limit before the rise. If not, the present limit has become too
    # high or was too high from the start, so lower it.
    limit = state.previous if state.is_rising and state.previous else max(1, int(state.limit * 0.8))
    return replace(
        state, limit=limit, is_rising=True, is_falling=False, factor=_STEP, previous=0, baseline=0, has_climbed=True
    )


def _after_rise(state: ConcurrencyState, window: Window, now: float) -> ConcurrencyState:
    if not state.baseline:
        return _raised(_with_baseline(state, window))
    if not _is_compared(state):
        return _raised(state)
    gain, noise = _gain(state, window), _noise(state, window)
    if state.limit < MAX_CONCURRENCY and gain > _needed_gain(state) + noise:
        return _raised(_with_baseline(replace(state, factor=_next_factor(state.factor), has_climbed=True), window))
    if gain > noise:
        return _held(replace(state, has_climbed=True), state.limit, now)
    if not state.has_climbed and _is_worth_lowering(state.baseline, state.baseline_rate):
        return _lowered(replace(state, limit=state.baseline, factor=_DOUBLING))
    return _held(state, state.baseline, now)


def _after_fall(state: ConcurrencyState, window: Window, now: float) -> ConcurrencyState:
    # If a large step lowers the rate at all, the loss is larger than the measurement error. So a loss within the error
    # is only noise, and is tolerated. A small step may cause a loss that is smaller than the error, so only a share of
    # the error is tolerated.
    noise = (
        _noise(state, window)
        / _CONFIDENCE
        * (1.0 if state.baseline >= _LARGE_STEP * state.limit else _SMALL_STEP_SHARE)
    )
    if _gain(state, window) < _tolerated_loss(state) - noise:
        return _held(state, state.previous, now)
    if state.limit <= _MIN_LIMIT:
        return _held(state, state.limit, now)
    # The rate is the same as at the baseline, so the new baseline is the average of both measurements.
    responses = state.baseline_responses + window.responses
    rate = (state.baseline_rate * state.baseline_responses + window.rate * window.responses) / responses
    measured = replace(
        state, baseline=state.limit, baseline_rate=rate, baseline_responses=responses, hold_seconds=_HOLD_SECONDS
    )
    return _lowered(replace(measured, factor=_next_factor(state.factor)))


def _probing(state: ConcurrencyState, window: Window) -> ConcurrencyState:
    is_slower = _is_slower(state, window)
    hold_seconds = _HOLD_SECONDS if is_slower else min(_MAX_HOLD_SECONDS, 2 * state.hold_seconds)
    probe = replace(
        _with_baseline(state, window), hold_seconds=hold_seconds, factor=min(state.factor, _PROBE), has_climbed=True
    )
    goes_lower = (state.probes_lower or is_slower) and _is_worth_lowering(state.limit, window.rate)
    probe = replace(probe, probes_lower=not goes_lower)
    return _lowered(replace(probe, factor=_PROBE)) if goes_lower else _raised(probe)


def _is_worth_lowering(limit: int, rate: float) -> bool:
    """Return whether a lower limit is possible, and worth a trial because the latency is above half a second.

    The latency is ``limit / rate``: the number of requests in flight divided by the responses per second.
    """
    return limit > _MIN_LIMIT and limit > _INSTANT_SECONDS * rate


def _is_compared(state: ConcurrencyState) -> bool:
    return state.is_falling or (state.baseline > 0 and state.limit >= _MEASURABLE_STEP * state.baseline)


def _is_slower(state: ConcurrencyState, window: Window) -> bool:
    """Return whether the rate is less than half of the baseline's rate, as after the loss of replicas."""
    return state.baseline > 0 and _gain(state, window) < -math.log(_DOUBLING)


def _is_undecided(state: ConcurrencyState, window: Window) -> bool:
    """Return whether a window has no clear result yet, but may have one if it lasts longer."""
    if not _is_compared(state):
        return False
    gain, noise = _gain(state, window), _noise(state, window)
    if state.is_falling:
        return abs(gain - _tolerated_loss(state)) < noise / _CONFIDENCE
    return _needed_gain(state) < gain <= _needed_gain(state) + noise


def _gain(state: ConcurrencyState, window: Window) -> float:
    """Return the logarithm of the window's rate divided by the baseline's rate."""
    return math.log(max(window.rate, 1e-9) / max(state.baseline_rate, 1e-9))


def _noise(state: ConcurrencyState, window: Window) -> float:
    """Return the measurement error of :func:`_gain` times ``_CONFIDENCE``. A smaller gain may be due to chance."""
    return _CONFIDENCE * math.sqrt(1 / max(1, state.baseline_responses) + 1 / max(1, window.responses))


def _needed_gain(state: ConcurrencyState) -> float:
    return _REQUIRED_GAIN * math.log(state.limit / state.baseline)


def _tolerated_loss(state: ConcurrencyState) -> float:
    return -_REQUIRED_GAIN * math.log(state.baseline / state.limit)


def _next_factor(factor: float) -> float:
    return factor if factor <= _STEP else min(_DOUBLING, factor * factor)


def _with_baseline(state: ConcurrencyState, window: Window) -> ConcurrencyState:
    return replace(
        state,
        baseline=state.limit,
        baseline_rate=window.rate,
        baseline_responses=window.responses,
        hold_seconds=_HOLD_SECONDS,
    )


def _held(state: ConcurrencyState, limit: int, now: float) -> ConcurrencyState:
    return replace(state, limit=limit, is_rising=False, is_falling=False, held_since=now)


def _raised(state: ConcurrencyState) -> ConcurrencyState:
    limit = min(MAX_CONCURRENCY, max(state.limit + 1, int(state.limit * state.factor)))
    return replace(state, limit=limit, previous=state.limit, is_rising=True, is_falling=False)


def _lowered(state: ConcurrencyState) -> ConcurrencyState:
    limit = max(_MIN_LIMIT, min(state.limit - 1, int(state.limit / state.factor)))
    return replace(state, limit=limit, previous=state.limit, is_rising=False, is_falling=True)
