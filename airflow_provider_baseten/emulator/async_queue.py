"""Queue of the async requests of one deployment."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from airflow_provider_baseten.emulator.async_requests import AsyncRequest, Status
from airflow_provider_baseten.emulator.clock import Clock, Timer
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.invocation import CRASHED, TIMED_OUT, InvocationResult, invoke
from airflow_provider_baseten.emulator.limits import Limits
from airflow_provider_baseten.emulator.submissions import RetryConfig
from airflow_provider_baseten.emulator.webhooks import Webhooks

logger = logging.getLogger(__name__)

_PRIORITIES = 3
# After a 429 from the model, the queue pauses. The more 429s come in a row, the longer the pause: 1, 2, 4, then always
# 5 seconds. These are the default delays of RetryConfig.
_PAUSES = RetryConfig()


class AsyncQueue:
    """Queue that starts an async request when a replica has a free slot and no synchronous request waits for a slot.

    A slot is the right to send one request to a replica. The methods must be called in the server's event loop.

    :param deployment: deployment that runs the requests.
    :param limits: time limits.
    :param clock: source of time.
    :param webhooks: sender of webhooks.
    :param is_held: function that returns whether the queue is held. A held queue starts no requests.
    """

    def __init__(
        self, deployment: Deployment, limits: Limits, clock: Clock, webhooks: Webhooks, is_held: Callable[[], bool]
    ) -> None:
        self._deployment = deployment
        self._limits = limits
        self._clock = clock
        self._webhooks = webhooks
        self._is_held = is_held
        self._queued_by_priority = tuple(OrderedDict[str, AsyncRequest]() for _ in range(_PRIORITIES))
        self._due_retries: deque[AsyncRequest] = deque()
        self._busy_responses = 0
        self._pause: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_progress = 0
        deployment.replicas.on_free_slot = self.start_requests

    @property
    def queued(self) -> int:
        """Number of queued requests."""
        return sum(map(len, self._queued_by_priority))

    def add(self, request: AsyncRequest) -> None:
        """Queue a request, and start it if a slot is free."""
        self._enqueue(request)
        self.start_requests()

    def cancel(self, request: AsyncRequest) -> bool:
        """Cancel a request if it is in this queue. Return whether the request was cancelled."""
        if request.request_id not in self._queued_by_priority[request.priority]:
            return False
        self._dequeue(request)
        self._end_without_run(request, "CANCELED")
        return True

    def start_requests(self) -> None:
        """Start queued requests until no slot is free.

        If the deployment has no replica, start a replica. The requests start when that replica is ready.
        """
        while (self._due_retries or self.queued) and self._may_start():
            if not self._deployment.replicas.try_acquire_slot():
                self._deployment.replicas.wake()
                return
            self._start(self._next())

    async def stop(self) -> None:
        """Cancel running requests and empty the queue."""
        self._due_retries.clear()
        for queued in self._queued_by_priority:
            for request in list(queued.values()):
                self._dequeue(request)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.in_progress = 0

    def _may_start(self) -> bool:
        return self._pause is None and self._deployment.is_up and not self._is_held()

    def _next(self) -> AsyncRequest:
        if self._due_retries:
            return self._due_retries.popleft()
        queued = next(queued for queued in self._queued_by_priority if queued)
        return queued.popitem(last=False)[1]

    def _enqueue(self, request: AsyncRequest) -> None:
        self._queued_by_priority[request.priority][request.request_id] = request
        remaining = max(0.0, request.expires_at - self._clock.now())
        request.expiry = self._clock.call_later(remaining, lambda: self._expire(request))

    def _dequeue(self, request: AsyncRequest) -> None:
        del self._queued_by_priority[request.priority][request.request_id]
        _stop_expiry(request)

    def _expire(self, request: AsyncRequest) -> None:
        self._dequeue(request)
        self._end_without_run(request, "EXPIRED")

    def _end_without_run(self, request: AsyncRequest, status: Status) -> None:
        """End a canceled or expired request without running the model or sending a webhook."""
        now = self._clock.now()
        request.set_status(status, now)
        if request.webhook_endpoint is not None:
            request.webhook_status = "CANCELED"
        request.settle(now)

    def _start(self, request: AsyncRequest) -> None:
        _stop_expiry(request)
        if request.status == "QUEUED":
            request.set_status("IN_PROGRESS", self._clock.now())
            self.in_progress += 1
        self._create_task(self._run(request))

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, request: AsyncRequest) -> None:
        try:
            result = await self._invoke(request)
            if result.is_busy:
                self._requeue(request)
                return
        finally:
            self._deployment.replicas.release_slot()
        self._busy_responses = 0
        retry_config = request.submission.retry_config
        request.failures += result.error is not None
        if result.is_retryable and request.failures < retry_config.max_attempts:
            await self._clock.sleep(retry_config.delay(request.failures))
            self._due_retries.append(request)
            self.start_requests()
        else:
            await self._finish(request, result)

    async def _invoke(self, request: AsyncRequest) -> InvocationResult:
        request.model_runs += 1
        model_input, deployment = request.submission.model_input, self._deployment
        try:
            async with self._clock.timeout(self._limits.async_predict_seconds):
                return await invoke(deployment.app, deployment.predict_path, request.request_id, model_input)
        except TimeoutError:
            return TIMED_OUT
        except Exception:
            logger.exception("The model's server failed")
            return CRASHED

    def _requeue(self, request: AsyncRequest) -> None:
        """Put a request back at the head of the queue and pause the queue, because the model responded with 429."""
        self.in_progress -= 1
        self._busy_responses += 1
        request.set_status("QUEUED", self._clock.now())
        self._enqueue(request)
        self._queued_by_priority[request.priority].move_to_end(request.request_id, last=False)
        if self._pause is None:
            self._pause = self._clock.call_later(_PAUSES.delay(self._busy_responses), self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.start_requests()

    async def _finish(self, request: AsyncRequest, result: InvocationResult) -> None:
        self.in_progress -= 1
        request.submission = replace(request.submission, model_input=b"")
        if result.error is not None:
            request.errors = (result.error,)
        request.set_status("FAILED" if request.errors else "SUCCEEDED", self._clock.now())
        if request.webhook_endpoint is not None:
            is_delivered = await self._webhooks.deliver(request, result.data)
            request.webhook_status = "SUCCEEDED" if is_delivered else "FAILED"
            if not is_delivered and not request.errors:
                request.set_status("WEBHOOK_FAILED", self._clock.now())
        request.settle(self._clock.now())


def _stop_expiry(request: AsyncRequest) -> None:
    if request.expiry is not None:
        request.expiry.cancel()
        request.expiry = None
