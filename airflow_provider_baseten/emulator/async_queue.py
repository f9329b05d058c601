"""The async queue of one deployment: who waits, who runs, and what happens when the model fails."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from airflow_provider_baseten.emulator.async_requests import AsyncRequest, Status
from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.deployments import Deployment, Limits
from airflow_provider_baseten.emulator.invocation import CRASHED, TIMED_OUT, Outcome, invoke
from airflow_provider_baseten.emulator.submissions import RetryConfig
from airflow_provider_baseten.emulator.webhooks import Webhooks

logger = logging.getLogger(__name__)

_PRIORITIES = 3
_BACKOFF = RetryConfig()


class AsyncQueue:
    """Runs async requests on the places of a deployment's replicas that no other request wants.

    Lives in the event loop of the server.

    :param deployment: what runs them.
    :param limits: times.
    :param clock: where time comes from.
    :param webhooks: delivers what came of them.
    :param is_held: tells whether nothing may start.
    """

    def __init__(
        self, deployment: Deployment, limits: Limits, clock: Clock, webhooks: Webhooks, is_held: Callable[[], bool]
    ) -> None:
        self._deployment = deployment
        self._limits = limits
        self._clock = clock
        self._webhooks = webhooks
        self._is_held = is_held
        self._lanes = tuple(OrderedDict[str, AsyncRequest]() for _ in range(_PRIORITIES))
        self._retries: deque[AsyncRequest] = deque()
        self._refusals = 0
        self._backoff: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_progress = 0
        deployment.replicas.when_free = self.start_waiting

    @property
    def queued(self) -> int:
        """How many requests wait to be started."""
        return sum(map(len, self._lanes))

    def add(self, request: AsyncRequest) -> None:
        """Take a request, and start it if there is room."""
        self._wait(request)
        self.start_waiting()

    def cancel(self, request: AsyncRequest) -> bool:
        """Cancel a request; return whether it was still queued here."""
        if request.request_id not in self._lanes[request.priority]:
            return False
        self._leave(request)
        self._drop(request, "CANCELED")
        return True

    def start_waiting(self) -> None:
        """Start as many requests as there is room for."""
        while (self._retries or self.queued) and self._may_start():
            if not self._deployment.replicas.take():
                self._deployment.replicas.wake()
                return
            self._start(self._next())

    async def stop(self) -> None:
        """Break off what runs and forget what waits."""
        self._retries.clear()
        for lane in self._lanes:
            for request in list(lane.values()):
                self._leave(request)
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.in_progress = 0

    def _may_start(self) -> bool:
        return self._backoff is None and self._deployment.active and not self._is_held()

    def _next(self) -> AsyncRequest:
        if self._retries:
            return self._retries.popleft()
        lane = next(lane for lane in self._lanes if lane)
        return lane.popitem(last=False)[1]

    def _wait(self, request: AsyncRequest) -> None:
        self._lanes[request.priority][request.request_id] = request
        left = max(0.0, request.expires_at - self._clock.now())
        request.expiry = self._clock.call_later(left, lambda: self._expire(request))

    def _leave(self, request: AsyncRequest) -> None:
        del self._lanes[request.priority][request.request_id]
        _stop_expiry(request)

    def _expire(self, request: AsyncRequest) -> None:
        self._leave(request)
        self._drop(request, "EXPIRED")

    def _drop(self, request: AsyncRequest, status: Status) -> None:
        """End a request that the model was not run for; nobody is told by webhook."""
        now = self._clock.now()
        request.change(status, now)
        if request.webhook_endpoint is not None:
            request.webhook_status = "CANCELED"
        request.settle(now)

    def _start(self, request: AsyncRequest) -> None:
        _stop_expiry(request)
        if request.status == "QUEUED":
            request.change("IN_PROGRESS", self._clock.now())
            self.in_progress += 1
        self._spawn(self._run(request))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, request: AsyncRequest) -> None:
        try:
            outcome = await self._invoke(request)
            if outcome.busy:
                self._back_off(request)
                return
        finally:
            self._deployment.replicas.give_back()
        self._refusals = 0
        retries = request.submission.retries
        request.failures += outcome.error is not None
        if outcome.retry and request.failures < retries.max_attempts:
            await self._clock.sleep(retries.delay(request.failures))
            self._retries.append(request)
            self.start_waiting()
        else:
            await self._finish(request, outcome)

    async def _invoke(self, request: AsyncRequest) -> Outcome:
        request.model_runs += 1
        model_input, deployment = request.submission.model_input, self._deployment
        try:
            async with self._clock.timeout(self._limits.async_predict_seconds):
                return await invoke(deployment.app, deployment.predict_path, request.request_id, model_input)
        except TimeoutError:
            return TIMED_OUT
        except Exception:
            logger.exception("The server of the model failed")
            return CRASHED

    def _back_off(self, request: AsyncRequest) -> None:
        """Put a request back that the model has no room for, and leave the model alone for a while."""
        self.in_progress -= 1
        self._refusals += 1
        request.change("QUEUED", self._clock.now())
        self._wait(request)
        self._lanes[request.priority].move_to_end(request.request_id, last=False)
        if self._backoff is None:
            self._backoff = self._clock.call_later(_BACKOFF.delay(self._refusals), self._resume)

    def _resume(self) -> None:
        self._backoff = None
        self.start_waiting()

    async def _finish(self, request: AsyncRequest, outcome: Outcome) -> None:
        self.in_progress -= 1
        request.submission = replace(request.submission, model_input=b"")
        if outcome.error is not None:
            request.errors = (outcome.error,)
        request.change("FAILED" if request.errors else "SUCCEEDED", self._clock.now())
        if request.webhook_endpoint is not None:
            delivered = await self._webhooks.deliver(request, outcome.data)
            request.webhook_status = "SUCCEEDED" if delivered else "FAILED"
            if not delivered and not request.errors:
                request.change("WEBHOOK_FAILED", self._clock.now())
        request.settle(self._clock.now())


def _stop_expiry(request: AsyncRequest) -> None:
    if request.expiry is not None:
        request.expiry.cancel()
        request.expiry = None
