"""Async requests and their state."""

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_baseten.emulator.clock import Timer, timestamp
from airflow_provider_baseten.emulator.endpoints import EndpointKind
from airflow_provider_baseten.emulator.submissions import SubmissionBody

Status = Literal["QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "EXPIRED", "CANCELED", "WEBHOOK_FAILED"]
WebhookStatus = Literal["PENDING", "SUCCEEDED", "FAILED", "CANCELED", "NO_WEBHOOK_PROVIDED"]


@dataclass(frozen=True, slots=True)
class AsyncRequestError:
    """Error of an async request.

    :param code: one of the codes that the inference API documents.
    :param message: details.
    """

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """Return the error in the form of Baseten's API."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One attempt to deliver a webhook.

    :param attempted_at: time of the attempt in seconds since the epoch.
    :param was_sent: whether the webhook was sent; false if a configured fault of the emulator dropped it.
    :param status: HTTP status of the receiver's response, or the status that a configured fault returned instead.
        ``None`` if there was no response.
    """

    attempted_at: float
    was_sent: bool
    status: int | None


@dataclass(slots=True, eq=False)
class AsyncRequest:
    """Accepted async request.

    :param request_id: id of the request.
    :param kind: ``model`` or ``chain``.
    :param target: id of the model or chain.
    :param deployment_id: id of the deployment that runs the request.
    :param created_at: time of acceptance in seconds since the epoch.
    :param submission: parsed body of the submission. When the model has finished, the input is removed from this body.
    :param status: status of the request.
    :param status_at: time of the last change of ``status`` in seconds since the epoch.
    :param webhook_status: status of the webhook's delivery.
    :param errors: errors of a failed request.
    :param model_runs: number of times the model was invoked.
    :param failures: number of these invocations that failed.
    :param webhook_attempts: attempts to deliver the webhook.
    :param settled_at: time in seconds since the epoch at which the request reached its final state, ``None`` until
        then. A request with a webhook reaches its final state only when all attempts to deliver the webhook are over.
    """

    request_id: str
    kind: EndpointKind
    target: str
    deployment_id: str
    created_at: float
    submission: SubmissionBody
    status: Status = "QUEUED"
    status_at: float = 0.0
    webhook_status: WebhookStatus = "PENDING"
    errors: tuple[AsyncRequestError, ...] = ()
    model_runs: int = 0
    failures: int = 0
    webhook_attempts: list[WebhookAttempt] = field(default_factory=list)
    settled_at: float | None = None
    expiry: Timer | None = field(default=None, repr=False)
    settled: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self.status_at = self.created_at
        if self.submission.webhook_endpoint is None:
            self.webhook_status = "NO_WEBHOOK_PROVIDED"

    @property
    def priority(self) -> int:
        """Priority from 0 (highest) to 2 (lowest)."""
        return self.submission.priority

    @property
    def webhook_endpoint(self) -> str | None:
        """URL to which a webhook delivers the output, ``None`` for no webhook."""
        return self.submission.webhook_endpoint

    @property
    def expires_at(self) -> float:
        """Time in seconds since the epoch at which the request expires if it is still queued."""
        return self.created_at + self.submission.max_time_in_queue_seconds

    def set_status(self, status: Status, now: float) -> None:
        """Change the status, and record ``now``, in seconds since the epoch, as the time of the change."""
        self.status, self.status_at = status, now

    def settle(self, now: float) -> None:
        """Record that the request has reached its final state at ``now``, in seconds since the epoch."""
        self.settled_at = now
        self.settled.set()

    def as_json(self) -> dict[str, Any]:
        """Return the status in the form of Baseten's API."""
        return {
            "request_id": self.request_id,
            f"{self.kind}_id": self.target,
            "deployment_id": self.deployment_id,
            "status": self.status,
            "webhook_status": self.webhook_status,
            "created_at": timestamp(self.created_at),
            "status_at": timestamp(self.status_at),
            "errors": [error.as_json() for error in self.errors],
        }


class AsyncRequests:
    """The most recent async requests, written by the server's thread and readable from any thread.

    :param limit: maximum number of requests.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._requests: OrderedDict[str, AsyncRequest] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, request: AsyncRequest) -> None:
        """Add a request. If there are then more requests than the limit, remove the oldest one."""
        with self._lock:
            self._requests[request.request_id] = request
            if len(self._requests) > self._limit:
                self._requests.popitem(last=False)

    def get(self, request_id: str) -> AsyncRequest | None:
        """Return the request with this id, ``None`` if no such request is stored."""
        return self._requests.get(request_id)

    def all(self) -> dict[str, AsyncRequest]:
        """Return all requests by id, oldest first."""
        with self._lock:
            return dict(self._requests)
