"""Async requests, from their submission until nothing more happens to them."""

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_baseten.emulator.clock import Timer, timestamp
from airflow_provider_baseten.emulator.submissions import Submission

Status = Literal["QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "EXPIRED", "CANCELED", "WEBHOOK_FAILED"]
WebhookStatus = Literal["PENDING", "SUCCEEDED", "FAILED", "CANCELED", "NO_WEBHOOK_PROVIDED"]


@dataclass(frozen=True, slots=True)
class AsyncRequestError:
    """Why an async request failed.

    :param code: one of the inference API's documented codes.
    :param message: details.
    """

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """Return it as the API shows it."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One attempt to deliver a webhook.

    :param at: when it was made, seconds since the epoch.
    :param sent: whether it left the emulator; an injected fault may have dropped it.
    :param status: what the receiver is taken to have answered, ``None`` when it did not.
    """

    at: float
    sent: bool
    status: int | None


@dataclass(slots=True, eq=False)
class AsyncRequest:
    """One async request that was accepted; changes while it is worked on.

    :param request_id: its id.
    :param kind: whether a model or a chain was called.
    :param target: id of the model or chain.
    :param deployment_id: deployment that runs it.
    :param created_at: when it was accepted, seconds since the epoch.
    :param submission: what was asked for; its input is forgotten once the model is done.
    :param status: its status.
    :param status_at: when that changed, seconds since the epoch.
    :param webhook_status: status of the delivery.
    :param errors: why it failed.
    :param model_runs: how often the model was run for it.
    :param failures: how many of these count as failed attempts.
    :param webhook_attempts: attempts to deliver the webhook.
    :param settled_at: when the last thing happened to it, the delivery included; ``None`` before that.
    """

    request_id: str
    kind: Literal["model", "chain"]
    target: str
    deployment_id: str
    created_at: float
    submission: Submission
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
        """0, which is first, to 2."""
        return self.submission.priority

    @property
    def webhook_endpoint(self) -> str | None:
        """URL that its output is delivered to."""
        return self.submission.webhook_endpoint

    @property
    def expires_at(self) -> float:
        """When it expires unless it was started, seconds since the epoch."""
        return self.created_at + self.submission.max_time_in_queue_seconds

    def change(self, status: Status, now: float) -> None:
        """Take another status."""
        self.status, self.status_at = status, now

    def settle(self, now: float) -> None:
        """Note that nothing more will happen to it."""
        self.settled_at = now
        self.settled.set()

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
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
    """The newest async requests by id, oldest first; written by the server's thread, read by any.

    :param limit: how many are kept.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._requests: OrderedDict[str, AsyncRequest] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, request: AsyncRequest) -> None:
        """Remember one."""
        with self._lock:
            self._requests[request.request_id] = request
            if len(self._requests) > self._limit:
                self._requests.popitem(last=False)

    def get(self, request_id: str) -> AsyncRequest | None:
        """Return the one with this id."""
        return self._requests.get(request_id)

    def all(self) -> dict[str, AsyncRequest]:
        """Return what is remembered."""
        with self._lock:
            return dict(self._requests)
