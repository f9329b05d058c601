"""Async inference: what the gateway answers to submissions, and to questions about them."""

from typing import Any

from airflow_provider_baseten.emulator.async_queue import AsyncQueue
from airflow_provider_baseten.emulator.async_requests import AsyncRequest, AsyncRequests
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment, Endpoint, Limits
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.submissions import parse_submission
from airflow_provider_baseten.emulator.webhooks import Webhooks

SUBMIT_ACTIONS = {"model": "async_predict", "chain": "async_run_remote"}


class AsyncInference:
    """All async requests, and the queues that they wait in. Lives in the event loop of the server.

    :param limits: body size and times.
    :param clock: where time comes from.
    :param webhooks: delivers what came of them.
    """

    def __init__(self, limits: Limits, clock: Clock, webhooks: Webhooks) -> None:
        self.requests = AsyncRequests()
        self._limits = limits
        self._clock = clock
        self.webhooks = webhooks
        self._queues: dict[Deployment, AsyncQueue] = {}
        self._all_held = False
        self._held: set[str] = set()

    def submit(self, endpoint: Endpoint, deployment: Deployment, request_id: str, body: bytes) -> AsyncRequest:
        """Accept an async request.

        :raises GatewayError: 413 for a body that is too large, 400 for one that is wrong.
        """
        if len(body) > self._limits.async_body_bytes:
            message = f"payload size of {len(body)} bytes exceeds maximum size of {self._limits.async_body_bytes} bytes"
            raise GatewayError(413, message, "payload_too_large")
        submission = parse_submission(endpoint.kind, body)
        request = AsyncRequest(
            request_id=request_id,
            kind=endpoint.kind,
            target=endpoint.id,
            deployment_id=deployment.id,
            created_at=self._clock.now(),
            submission=submission,
        )
        self.requests.add(request)
        self._queue(endpoint, deployment).add(request)
        return request

    def status(self, endpoint: Endpoint, request_id: str) -> dict[str, Any]:
        """Return the answer to a question about one request.

        :raises GatewayError: 404, there is none, or it was finished too long ago.
        """
        return self._find(endpoint, request_id).as_json()

    def cancel(self, endpoint: Endpoint, request_id: str) -> dict[str, Any]:
        """Cancel a request if it is still queued, and return the answer.

        :raises GatewayError: 404, there is none, or it was finished too long ago.
        """
        request = self._find(endpoint, request_id)
        was = request.status
        canceled = any(queue.cancel(request) for queue in self._queues.values())
        message = "The request was canceled." if canceled else f"Only a queued request can be canceled; this is {was}."
        return {"request_id": request_id, "canceled": canceled, "message": message}

    def queue_status(self, endpoint: Endpoint, deployment: Deployment) -> dict[str, Any]:
        """Return how many requests of a deployment wait and run."""
        queue = self._queue(endpoint, deployment)
        return {
            # Baseten documents this field for chains too.
            "model_id": endpoint.id,
            "deployment_id": deployment.id,
            "num_queued_requests": queue.queued,
            "num_in_progress_requests": queue.in_progress,
        }

    def hold(self, id_: str | None) -> None:
        """Start no further requests of one model or chain, or of all."""
        if id_ is None:
            self._all_held = True
        else:
            self._held.add(id_)

    def release(self, id_: str | None) -> None:
        """Start requests of one model or chain again, or of all."""
        if id_ is None:
            self._all_held = False
            self._held.clear()
        else:
            self._held.discard(id_)
        for queue in self._queues.values():
            queue.start_waiting()

    async def stop(self) -> None:
        """Break off what runs and forget what waits."""
        for queue in self._queues.values():
            await queue.stop()
        self.webhooks.stop()

    def _queue(self, endpoint: Endpoint, deployment: Deployment) -> AsyncQueue:
        if deployment not in self._queues:
            self._queues[deployment] = AsyncQueue(
                deployment,
                self._limits,
                self._clock,
                self.webhooks,
                is_held=lambda: self._all_held or endpoint.id in self._held,
            )
        return self._queues[deployment]

    def _find(self, endpoint: Endpoint, request_id: str) -> AsyncRequest:
        request = self.requests.get(request_id)
        called = (endpoint.kind, endpoint.id)
        if request is None or (request.kind, request.target) != called or self._forgotten(request):
            raise GatewayError(404, f"Async request {request_id[:80]} does not exist.", "client_error")
        return request

    def _forgotten(self, request: AsyncRequest) -> bool:
        retention = self._limits.async_retention_seconds
        return request.settled_at is not None and self._clock.now() >= request.settled_at + retention
