"""Async inference: submission, status and cancellation of async requests."""

from typing import Any

from airflow_provider_baseten.emulator.async_queue import AsyncQueue
from airflow_provider_baseten.emulator.async_requests import AsyncRequest, AsyncRequests
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.limits import Limits
from airflow_provider_baseten.emulator.submissions import parse_submission
from airflow_provider_baseten.emulator.webhooks import Webhooks

SUBMIT_ACTIONS = {"model": "async_predict", "chain": "async_run_remote"}


class AsyncInference:
    """All async requests, and one queue for each deployment.

    The methods must be called in the server's event loop.

    :param limits: limits of body sizes and times.
    :param clock: source of time.
    :param webhooks: sender of webhooks.
    """

    def __init__(self, limits: Limits, clock: Clock, webhooks: Webhooks) -> None:
        self.requests = AsyncRequests()
        self._limits = limits
        self._clock = clock
        self.webhooks = webhooks
        self._queues: dict[Deployment, AsyncQueue] = {}
        self._are_all_held = False
        self._held_ids: set[str] = set()

    def submit(self, endpoint: Endpoint, deployment: Deployment, request_id: str, body: bytes) -> AsyncRequest:
        """Accept and queue an async request.

        :param endpoint: the called model or chain.
        :param deployment: the called deployment.
        :param request_id: id of the new request.
        :param body: request body.
        :raises GatewayError: 413 for a body that is too large, 400 for an invalid body.
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
        """Return the JSON content of the response to a status call.

        :param endpoint: the called model or chain.
        :param request_id: id of the async request.
        :raises GatewayError: 404 if the request is unknown, or if its retention time has passed.
        """
        return self._find(endpoint, request_id).as_json()

    def cancel(self, endpoint: Endpoint, request_id: str) -> dict[str, Any]:
        """Cancel a request if it is still queued, and return the JSON content of the response.

        :param endpoint: the called model or chain.
        :param request_id: id of the async request.
        :raises GatewayError: 404 if the request is unknown, or if its retention time has passed.
        """
        request = self._find(endpoint, request_id)
        status = request.status
        canceled = any(queue.cancel(request) for queue in self._queues.values())
        not_canceled = f"Only a queued request can be canceled; the status of this request is {status}."
        message = "The request was canceled." if canceled else not_canceled
        return {"request_id": request_id, "canceled": canceled, "message": message}

    def queue_status(self, endpoint: Endpoint, deployment: Deployment) -> dict[str, Any]:
        """Return the JSON content for ``async_queue_status``: the numbers of queued and running requests."""
        queue = self._queue(endpoint, deployment)
        return {
            # According to Baseten's documentation, the field is called `model_id` for chains too.
            "model_id": endpoint.id,
            "deployment_id": deployment.id,
            "num_queued_requests": queue.queued,
            "num_in_progress_requests": queue.in_progress,
        }

    def hold(self, id_: str | None) -> None:
        """Keep queued requests in the queue until :meth:`release` is called.

        :param id_: id of the model or chain whose requests are kept, ``None`` for all.
        """
        if id_ is None:
            self._are_all_held = True
        else:
            self._held_ids.add(id_)

    def release(self, id_: str | None) -> None:
        """Undo :meth:`hold`, so that requests in the queue may start.

        :param id_: id of the model or chain whose requests may start, ``None`` for all. After ``hold(None)``, requests
            start only after ``release(None)``.
        """
        if id_ is None:
            self._are_all_held = False
            self._held_ids.clear()
        else:
            self._held_ids.discard(id_)
        for queue in self._queues.values():
            queue.start_requests()

    async def stop(self) -> None:
        """Cancel running requests and empty the queues."""
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
                is_held=lambda: self._are_all_held or endpoint.id in self._held_ids,
            )
        return self._queues[deployment]

    def _find(self, endpoint: Endpoint, request_id: str) -> AsyncRequest:
        request = self.requests.get(request_id)
        called = (endpoint.kind, endpoint.id)
        if request is None or (request.kind, request.target) != called or self._is_past_retention(request):
            raise GatewayError(404, f"Async request {request_id[:80]} does not exist.", "client_error")
        return request

    def _is_past_retention(self, request: AsyncRequest) -> bool:
        retention = self._limits.async_retention_seconds
        return request.settled_at is not None and self._clock.now() >= request.settled_at + retention
