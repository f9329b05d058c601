"""Replicas of a deployment: how many requests run at once, who waits, and when there is no replica at all."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.errors import GatewayError

Policy = Literal["QUEUE_ON_FULL", "REJECT_ON_FULL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How a deployment scales.

    :param min_replica: replicas that are always there; 0 lets the deployment scale to zero, where it also begins.
    :param max_replica: most replicas.
    :param concurrency_target: requests that a replica takes at once, ``None`` for any number.
    :param cold_start: seconds until a new replica can answer.
    :param scale_down_delay: idle seconds after which replicas above ``min_replica`` are stopped.
    :param policy: ``QUEUE_ON_FULL`` lets a request wait for a replica, ``REJECT_ON_FULL`` answers 529.
    """

    min_replica: int = 1
    max_replica: int = 1
    concurrency_target: int | None = None
    cold_start: float = 0.0
    scale_down_delay: float = 900.0
    policy: Policy = "QUEUE_ON_FULL"

    def __post_init__(self) -> None:
        if self.min_replica < 0 or self.max_replica < max(1, self.min_replica):
            raise ValueError("min_replica must be at least 0, max_replica at least 1 and at least min_replica.")
        if self.concurrency_target is not None and self.concurrency_target < 1:
            raise ValueError("concurrency_target must be at least 1.")
        if self.cold_start < 0 or self.scale_down_delay < 0:
            raise ValueError("cold_start and scale_down_delay can't be negative.")


class Replicas:
    """The replicas of one deployment. Lives in the event loop of the server.

    :param scaling: how the deployment scales.
    :param parking_seconds: how long a request waits for a replica before it is answered with 500.
    :param clock: where time comes from.

    ``when_free`` is called when there may be a place that no waiting request wants.
    """

    def __init__(self, scaling: Scaling, parking_seconds: float, clock: Clock) -> None:
        self.scaling = scaling
        self.ready = scaling.min_replica
        self.starting = 0
        self.in_flight = 0
        self.when_free: Callable[[], None] = lambda: None
        self._parking_seconds = parking_seconds
        self._clock = clock
        self._parked: deque[asyncio.Future[None]] = deque()
        self._cold_starts: set[Timer] = set()
        self._scale_down: Timer | None = None

    @property
    def parked(self) -> int:
        """How many requests wait for a replica."""
        return sum(not waiter.done() for waiter in self._parked)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a place on a replica for the length of the block.

        :raises GatewayError: 529 when full and requests are rejected, 500 when none came free in time.
        """
        if self._has_room() and not self._parked:
            self.in_flight += 1
        else:
            await self._park()
        try:
            yield
        finally:
            self.give_back()

    def take(self) -> bool:
        """Hold a place if one is free and nobody waits for it; return whether that was so."""
        if self.parked or not self._has_room():
            return False
        self.in_flight += 1
        return True

    def give_back(self) -> None:
        """Give back a place that :meth:`take` gave."""
        self.in_flight -= 1
        self._admit()
        self._schedule_scale_down()

    def wake(self) -> None:
        """Start a replica if there is none; it goes away again when it stays idle."""
        if self.ready + self.starting == 0:
            self._start_replica()

    def stop(self, refusal: GatewayError) -> None:
        """Stop all replicas at once, as deactivating a deployment does.

        :param refusal: what waiting requests are answered with.
        """
        self.ready = self.starting = 0
        for timer in self._cold_starts:
            timer.cancel()
        self._cold_starts.clear()
        for waiter in self._parked:
            if not waiter.done():
                waiter.set_exception(refusal)
        self._parked.clear()

    def restart(self) -> None:
        """Bring back the replicas that are always there."""
        self.ready = self.scaling.min_replica
        self._admit()

    def _has_room(self) -> bool:
        target = self.scaling.concurrency_target
        return self.ready > 0 and (target is None or self.in_flight < self.ready * target)

    async def _park(self) -> None:
        if self.scaling.policy == "REJECT_ON_FULL":
            self._scale_up()
            raise GatewayError(529, "All replicas are busy.", "rate_limited")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parked.append(waiter)
        self._scale_up()
        self._admit()
        try:
            async with self._clock.timeout(self._parking_seconds):
                await waiter
        except TimeoutError:
            self._leave(waiter)
            raise GatewayError(500, "No replica became available in time.", "model_unavailable") from None
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        """Give back the place that may have been granted in the moment of giving up."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.in_flight -= 1
            self._admit()

    def _scale_up(self) -> None:
        if self.ready + self.starting < self.scaling.max_replica:
            self._start_replica()

    def _start_replica(self) -> None:
        self.starting += 1
        if self.scaling.cold_start > 0:
            timer = self._clock.call_later(self.scaling.cold_start, lambda: self._replica_ready(timer))
            self._cold_starts.add(timer)
        else:
            self._replica_ready(None)

    def _replica_ready(self, timer: Timer | None) -> None:
        if timer is not None:
            self._cold_starts.discard(timer)
        self.starting -= 1
        self.ready += 1
        self._admit()
        self._schedule_scale_down()

    def _admit(self) -> None:
        while self._parked and (self._parked[0].done() or self._has_room()):
            waiter = self._parked.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
        self.when_free()

    def _schedule_scale_down(self) -> None:
        if self._scale_down is not None:
            self._scale_down.cancel()
            self._scale_down = None
        if self.in_flight == 0 and self.ready > self.scaling.min_replica:
            self._scale_down = self._clock.call_later(self.scaling.scale_down_delay, self._scale_to_minimum)

    def _scale_to_minimum(self) -> None:
        if self.in_flight == 0:
            self.ready = min(self.ready, self.scaling.min_replica)
