"""No second holds more calls than the limit."""

import asyncio
import math
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from airflow_provider_baseten.waiting import limiter as pace_module
from airflow_provider_baseten.waiting.limiter import StatusCallLimiter


def most_in_a_second(times):
    return max(sum(start <= at < start + 1 for at in times) for start in times)


async def turns(pace, count, times):
    for _ in range(count):
        await pace.turn()
        times.append(time.monotonic())


def test_no_second_holds_more_than_the_limit_however_many_call():
    times = []

    async def scenario():
        pace = StatusCallLimiter(20)
        await asyncio.gather(*(turns(pace, 4, times) for _ in range(10)))

    asyncio.run(scenario())
    assert most_in_a_second(times) <= 20
    assert max(times) - min(times) < 40 / 20 * 1.25  # Nor much fewer.


def test_what_was_not_used_is_not_saved_for_a_burst():
    times = []

    async def scenario():
        pace = StatusCallLimiter(20)
        await turns(pace, 1, times)
        await asyncio.sleep(1)
        await turns(pace, 25, times)

    asyncio.run(scenario())
    assert most_in_a_second(times) <= 20


def test_a_blocked_loop_is_not_followed_by_a_burst():
    times = []

    async def scenario():
        pace = StatusCallLimiter(20)
        running = asyncio.gather(*(turns(pace, 5, times) for _ in range(5)))
        for _ in range(2):
            await asyncio.sleep(0.2)
            time.sleep(0.3)  # noqa: ASYNC251 - another trigger misbehaves.
        await running

    asyncio.run(scenario())
    assert most_in_a_second(times) <= 20


def test_a_refusal_pauses_everybody_for_as_long_as_the_server_asks():
    times = []

    async def scenario():
        pace = StatusCallLimiter(50)
        running = asyncio.gather(*(turns(pace, 3, times) for _ in range(5)))
        await asyncio.sleep(0.1)
        pace.refused(0.5)
        await running

    began = time.monotonic()
    asyncio.run(scenario())
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) >= 0.4
    assert sum(gap > 0.3 for gap in gaps) == 1
    assert time.monotonic() - began < 2
    assert min(gaps) > 0.01, "those who waited through the pause came back all at once"


@pytest.fixture
def clock(monkeypatch):
    """Time for the pace alone, which sleeping moves on; other threads sleep as ever."""
    clock = SimpleNamespace(now=1000.0)

    async def sleep(seconds):
        clock.now += max(0, seconds)

    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(pace_module, "asyncio", SimpleNamespace(sleep=sleep))
    return clock


def test_refusals_in_a_row_without_a_word_from_the_server_double_the_pause(clock):
    pace = StatusCallLimiter(20)

    async def pause():
        before = clock.now
        pace.refused(None)
        pace.refused(None)  # Of a call that was in flight with the first one.
        await pace.turn()
        return round(clock.now - before)

    async def scenario():
        pauses = [await pause() for _ in range(7)]
        pace.accepted()
        return [*pauses, await pause()]

    assert asyncio.run(scenario()) == [2, 4, 8, 16, 32, 64, 64, 2]


@pytest.mark.parametrize("retry_after", [float("nan"), float("inf"), -5.0, -math.inf, 10**400, 1e308])
def test_absurd_wishes_of_the_server_pause_for_a_bounded_time(retry_after, clock):
    pace, before = StatusCallLimiter(20), clock.now
    pace.refused(retry_after)
    asyncio.run(pace.turn())
    assert 1 < clock.now - before <= 700
