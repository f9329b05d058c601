"""Replicas of a deployment: concurrency, waiting requests, scaling to zero and cold starts."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.errors import GatewayError

BackpressurePolicy = Literal["QUEUE_ON_FULL", "REJECT_ON_FULL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Number of replicas and concurrency of a deployment.

    :param min_replica: minimum number of replicas. With 0, the deployment starts without replicas, and stops
        all of them when it is idle.
    :param max_replica: maximum number of replicas.
    :param concurrency_target: maximum number of concurrent requests per replica, ``None`` for no limit.
    :param cold_start: seconds that a new replica takes to start.
    :param scale_down_delay: idle seconds after which the replicas above ``min_replica`` are stopped.
    :param policy: what happens to a request if all replicas are busy. With ``QUEUE_ON_FULL`` it waits for a replica,
        with ``REJECT_ON_FULL`` it gets status 529. ``None``, which the management API reports when the setting was
        cleared, is ``QUEUE_ON_FULL``.
    :param autoscaling_window: setting that the management API reports; it has no effect in the emulator.
    :param target_utilization_percentage: setting that the management API reports; it has no effect.
    :param target_in_flight_tokens: setting that the management API reports; it has no effect.
    :param max_scale_down_rate: setting that the management API reports; it has no effect.
    """

    min_replica: int = 1
    max_replica: int = 1
    concurrency_target: int | None = None
    cold_start: float = 0.0
    scale_down_delay: float = 900.0
    policy: BackpressurePolicy | None = "QUEUE_ON_FULL"
    autoscaling_window: int = 60
    target_utilization_percentage: int = 70
    target_in_flight_tokens: int | None = None
    max_scale_down_rate: int = 50

    def __post_init__(self) -> None:
        if self.min_replica < 0 or self.max_replica < max(1, self.min_replica):
            raise ValueError("min_replica must be at least 0, max_replica at least 1 and at least min_replica.")
        if self.concurrency_target is not None and self.concurrency_target < 1:
            raise ValueError("concurrency_target must be at least 1.")
        if self.cold_start < 0 or self.scale_down_delay < 0:
            raise ValueError("cold_start and scale_down_delay can't be negative.")


class Replicas:
    """Replicas of one deployment. A slot is the right to send one request to a replica.

    A request that waits for a slot is called parked. The methods must be called in the server's event loop.

    :param scaling: scaling of the deployment.
    :param parking_seconds: maximum time that a request waits for a slot.
    :param clock: source of time.
    """

    def __init__(self, scaling: Scaling, parking_seconds: float, clock: Clock) -> None:
        self.scaling = scaling
        self._ready = scaling.min_replica
        self._starting = 0
        self.in_flight = 0
        #: Whether no replica may start, because the deployment is not in operation.
        self.is_stopped = False
        #: Function that is called with the number of replicas, those that are starting included, when it changes.
        self.on_change: Callable[[int], None] = lambda count: None
        #: Function that is called with the beginning and the end of each cold start, the end ``None`` for a replica
        #: that was stopped before it was ready.
        self.on_start: Callable[[float, float | None], None] = lambda begin, end: None
        #: Function that is called when a slot may be free. A slot is the right to send one request to a replica. Before
        #: the function is called, free slots are given to the requests that wait in ``_parked``.
        self.on_free_slot: Callable[[], None] = lambda: None
        self._parking_seconds = parking_seconds
        self._clock = clock
        self._parked: deque[asyncio.Future[None]] = deque()
        self._cold_starts: dict[Timer, float] = {}
        self._scale_down: Timer | None = None

    @property
    def ready(self) -> int:
        """Number of replicas that handle requests."""
        return self._ready

    @property
    def starting(self) -> int:
        """Number of replicas in their cold start."""
        return self._starting

    @property
    def parked(self) -> int:
        """Number of parked requests, that is, of requests that wait for a slot."""
        return sum(not waiter.done() for waiter in self._parked)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it during the block.

        :raises GatewayError: 529 if no slot is free and the policy is ``REJECT_ON_FULL``, 500 if the wait was too long.
        """
        if self._has_free_slot() and not self._parked:
            self.in_flight += 1
        else:
            await self._park()
        try:
            yield
        finally:
            self.release_slot()

    def try_acquire_slot(self) -> bool:
        """Acquire a slot if one is free and no parked request waits for it; return whether a slot was acquired."""
        if self.parked or not self._has_free_slot():
            return False
        self.in_flight += 1
        return True

    def release_slot(self) -> None:
        """Release a slot."""
        self.in_flight -= 1
        self._admit_parked()
        self._schedule_scale_down()

    def wake(self) -> None:
        """Start a replica if none is running or starting. If no request comes within ``scale_down_delay``, the replica
        stops again.
        """
        if self.ready + self.starting == 0 and not self.is_stopped:
            self._start_replica()

    def apply(self, scaling: Scaling) -> None:
        """Put other settings in force. Replicas start or stop, waiting requests get the slots that become free."""
        self.scaling = scaling
        if self.is_stopped:
            return
        while self.ready + self.starting < scaling.min_replica:
            self._start_replica()
        self._set(ready=min(self.ready, scaling.max_replica))
        self._admit_parked()
        if self.parked:
            self._scale_up()
        self._schedule_scale_down()

    def terminate_one(self) -> None:
        """Stop one ready replica. If the minimum needs it, another one starts."""
        self._set(ready=max(0, self.ready - 1))
        self.apply(self.scaling)

    def stop(self, error: GatewayError) -> None:
        """Stop all replicas, because the deployment is deactivated or has failed. None starts until :meth:`restart`.

        :param error: error response that the waiting requests get.
        """
        self.is_stopped = True
        for timer, begin in self._cold_starts.items():
            timer.cancel()
            self.on_start(begin, None)
        self._cold_starts.clear()
        self._set(ready=0, starting=0)
        for waiter in self._parked:
            if not waiter.done():
                waiter.set_exception(error)
        self._parked.clear()

    def prepare(self) -> None:
        """Keep replicas from starting, and let requests wait, until :meth:`restart`."""
        self.is_stopped = True

    def begin_start(self) -> None:
        """Begin to start the replicas that are ready after :meth:`restart`."""
        self._set(starting=max(1, self.scaling.min_replica))

    def restart(self) -> None:
        """Have the minimum number of replicas ready, but at least one. An idle one stops later."""
        self.is_stopped = False
        self._set(ready=max(1, self.scaling.min_replica), starting=0)
        self._admit_parked()
        self._schedule_scale_down()

    def scale_to_zero(self) -> None:
        """Stop all replicas that are idle, until the next request."""
        if self.in_flight == 0 and not self.is_stopped:
            self._set(ready=0)

    def _set(self, *, ready: int | None = None, starting: int | None = None) -> None:
        self._ready = self._ready if ready is None else ready
        self._starting = self._starting if starting is None else starting
        self.on_change(self._ready + self._starting)

    def _has_free_slot(self) -> bool:
        target = self.scaling.concurrency_target
        return self.ready > 0 and (target is None or self.in_flight < self.ready * target)

    async def _park(self) -> None:
        if self.scaling.policy == "REJECT_ON_FULL":
            self._scale_up()
            raise GatewayError(529, "All replicas are busy.", "rate_limited")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parked.append(waiter)
        self._scale_up()
        self._admit_parked()
        try:
            async with self._clock.timeout(self._parking_seconds):
                await waiter
        except TimeoutError:
            self._stop_waiting(waiter)
            raise GatewayError(500, "No replica became available in time.", "model_unavailable") from None
        except asyncio.CancelledError:
            self._stop_waiting(waiter)
            raise

    def _stop_waiting(self, waiter: asyncio.Future[None]) -> None:
        """Clean up after a parked request that timed out or was cancelled.

        The request may have got a slot immediately before the timeout or the cancellation. That slot is released.
        """
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.in_flight -= 1
            self._admit_parked()

    def _scale_up(self) -> None:
        if self.ready + self.starting < self.scaling.max_replica and not self.is_stopped:
            self._start_replica()

    def _start_replica(self) -> None:
        self._set(starting=self.starting + 1)
        begin = self._clock.now()
        if self.scaling.cold_start > 0:
            timer = self._clock.call_later(self.scaling.cold_start, lambda: self._finish_cold_start(begin, timer))
            self._cold_starts[timer] = begin
        else:
            self._finish_cold_start(begin, None)

    def _finish_cold_start(self, begin: float, timer: Timer | None) -> None:
        if timer is not None:
            del self._cold_starts[timer]
        self.on_start(begin, self._clock.now())
        self._set(ready=min(self.ready + 1, self.scaling.max_replica), starting=self.starting - 1)
        self._admit_parked()
        self._schedule_scale_down()

    def _admit_parked(self) -> None:
        while self._parked and (self._parked[0].done() or self._has_free_slot()):
            waiter = self._parked.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
        self.on_free_slot()

    def _schedule_scale_down(self) -> None:
        if self._scale_down is not None:
            self._scale_down.cancel()
            self._scale_down = None
        if self.in_flight == 0 and self.ready > self.scaling.min_replica:
            self._scale_down = self._clock.call_later(self.scaling.scale_down_delay, self._scale_to_minimum)

    def _scale_to_minimum(self) -> None:
        if self.in_flight == 0:
            self._set(ready=min(self.ready, self.scaling.min_replica))
