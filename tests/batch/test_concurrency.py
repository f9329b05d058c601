"""How many requests in flight, with servers that are formulas and a clock that is a number."""

import heapq
import math
import random
from collections import deque

import pytest

from airflow_provider_baseten.batch.concurrency import ConcurrencyState, Window, next_state
from airflow_provider_baseten.batch.concurrency_controller import ConcurrencyController, RequestCounts
from airflow_provider_baseten.batch.job import MAX_CONCURRENCY

TICK = 0.1


class Server:
    """Steady state of a server: what it answers and rejects with a number of requests in flight."""

    def __init__(self, latency, most_rate=float("inf"), places=float("inf")):
        self.latency = latency
        self.most_rate = most_rate
        self.places = places

    def rates(self, limit, now):
        served = min(limit, self.places)
        rate = served / self.latency(served, now)
        rejected = max(0.0, rate - self.most_rate) + (limit - served) / self.latency(served, now)
        return min(rate, self.most_rate), rejected


def queueing(places, seconds):
    """Latency of a server that lets requests wait for a place."""
    return lambda limit, now: seconds * max(1.0, limit / (places(now) if callable(places) else places))


SERVERS = {
    "8 replicas of 16": Server(queueing(128, 0.1)),
    "one place": Server(queueing(1, 0.5)),
    "500 a second": Server(queueing(10_000, 0.05), most_rate=500),
    "20 a second": Server(queueing(10_000, 0.5), most_rate=20),
    "24 places, more are rejected": Server(queueing(10_000, 0.2), places=24),
    "slower with load": Server(lambda limit, now: 0.04 * (1 + (limit / 100) ** 2)),
    "slower with load, without end": Server(lambda limit, now: 0.05 * (1 + limit / 40)),
    "a language model": Server(queueing(32, 20.0)),
    "a fast server": Server(queueing(10_000, 0.02)),
}


def simulate(server, seconds, chance, until=lambda now, limit: None):
    controller, now, responses, spent, rejected = ConcurrencyController(0.0), 0.0, 0.0, 0.0, 0.0
    limit, log = controller.state.limit, []
    while now < seconds:
        rate, rejections = server.rates(limit, now)
        count = rate * TICK * chance.uniform(0.95, 1.05)
        responses, rejected = responses + count, rejected + rejections * TICK
        spent += count * server.latency(min(limit, server.places), now)
        now += TICK
        log.append((now, limit, rate, rejections))
        limit = controller.update(RequestCounts(int(responses), spent, int(rejected)), now)
    return log


@pytest.mark.parametrize("name", SERVERS)
def test_capacity_is_found_and_hardly_anything_rejected(name):
    server, seed = SERVERS[name], random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    slow = name == "a language model"
    log = simulate(server, 1500.0 if slow else 90.0, random.Random(seed))
    after = [(rate, rejections) for now, _, rate, rejections in log if now > (500.0 if slow else 20.0)]
    best = max(server.rates(limit, 0.0)[0] for limit in range(1, MAX_CONCURRENCY + 1))
    rate, rejections = (sum(values) / len(after) for values in zip(*after, strict=True))
    assert rate >= 0.9 * best
    assert rejections < 0.01 * (rate + rejections)


def test_the_limit_stays_near_what_is_needed():
    log = simulate(SERVERS["8 replicas of 16"], 60.0, random.Random(1))
    assert 128 <= log[-1][1] <= 256
    assert simulate(SERVERS["one place"], 60.0, random.Random(1))[-1][1] <= 32


def test_new_replicas_are_noticed():
    server = Server(queueing(lambda now: 32 if now < 60 else 256, 0.1))
    log = simulate(server, 240.0, random.Random(1))
    assert next(rate for now, _, rate, _ in log if now > 55) >= 0.9 * 320
    assert log[-1][2] >= 0.9 * 2560


def test_a_server_that_takes_less_than_before_is_not_overloaded():
    server = Server(queueing(10_000, 0.05), most_rate=500)
    controller_log = simulate(server, 30.0, random.Random(1))
    assert controller_log[-1][1] <= 25
    state = ConcurrencyState(limit=100, is_rising=False)
    assert next_state(state, Window(responses=500, rate=500.0, rejected=9, seconds=1.0), 1.0).limit < 100


class Queue:
    """A server with places that are taken in turn, request by request, seen through a clock that is not exact.

    :param places: how many, or a function of the time.
    :param seconds: of a request, from chance and time.
    """

    def __init__(self, places, seconds):
        self.places = places if callable(places) else lambda now: places
        self.seconds = seconds

    def run(self, until, chance):
        """Keep as many requests in flight as the controller says; return limit and responses after each tick."""
        controller, now, responses, spent, log = ConcurrencyController(0.0), 0.0, 0, 0.0, []
        limit, waiting, running = controller.state.limit, deque(), []
        for tick in range(1, round(until / TICK) + 1):
            while True:
                waiting.extend([now] * (limit - len(waiting) - len(running)))
                while waiting and len(running) < self.places(now):
                    heapq.heappush(running, (now + self.seconds(chance, now), waiting.popleft()))
                if not running or running[0][0] > tick * TICK:
                    break
                now, sent = heapq.heappop(running)
                responses += 1
                spent += (now - sent) * chance.uniform(0.8, 1.2)
            now = tick * TICK
            limit = controller.update(RequestCounts(responses, spent, 0), now)
            log.append((limit, responses))
        return log


def about(seconds):
    return lambda chance, now: seconds * chance.uniform(0.7, 1.3)


def by_chance(seconds):
    return lambda chance, now: chance.expovariate(1 / seconds)


def busy(seconds):
    """A machine that is slower and faster again, for a minute each."""
    return lambda chance, now: seconds * (1 + 0.15 * math.sin(now / 20)) * chance.uniform(0.9, 1.1)


@pytest.fixture(params=range(3))
def chance(request):
    """Always the same chance: among many, one in a hundred misleads for a while."""
    return random.Random(request.param)


def seconds_after(log, start):
    return log[round(start / TICK) :]


@pytest.mark.parametrize("seconds", [about(0.5), busy(0.5)])
def test_one_place_is_not_climbed_and_the_limit_comes_down(chance, seconds):
    log = Queue(1, seconds).run(900.0, chance)
    assert max(limit for limit, _ in log) <= 32
    late = [limit for limit, _ in seconds_after(log, 600.0)]
    assert sum(late) / len(late) <= 6
    assert log[-1][1] >= 0.95 * 900 * 2


def test_one_place_whose_answers_come_by_chance(chance):
    """Sixty seconds of such responses look like half or twice the rate; now and then one stretch misleads."""
    finals = sorted(Queue(1, by_chance(0.5)).run(900.0, chance)[-1][0] for _ in range(9))
    assert finals[4] <= 8
    assert finals[-1] <= 64


@pytest.mark.parametrize("seconds", [about(0.5), by_chance(0.5)])
def test_many_places_are_all_found(chance, seconds):
    log = Queue(64, seconds).run(120.0, chance)
    after = seconds_after(log, 30.0)
    assert after[-1][1] - after[0][1] >= 0.9 * 90 * 128
    assert max(limit for limit, _ in log) <= 160


def test_places_that_are_lost_bring_the_limit_down_and_new_ones_up(chance):
    log = Queue(lambda now: 64 if now < 60 or now > 1200 else 1, about(0.5)).run(1500.0, chance)
    assert log[round(1190 / TICK)][0] <= 16
    assert 64 <= log[-1][0] <= 160


def test_rows_that_come_slowly_tell_nothing_of_the_server():
    controller, responses = ConcurrencyController(0.0), 0
    for tick in range(10_000):
        responses += 1
        limit = controller.update(RequestCounts(responses, responses * 0.1, 0), tick * TICK, starved=True)
    assert limit == 16
    assert controller.update(RequestCounts(responses, responses * 0.1, 50), 1001.0, starved=True) < 16
