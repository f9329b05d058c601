"""Faults that are injected into requests and into deliveries of webhooks."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_baseten.emulator.addressing import Address

WEBHOOK = "webhook"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Fault that is injected into the next matching requests.

    :param target: id of the model or chain to match, by default any.
    :param action: action to match (``predict``, ``run_remote``, ``sync``, ``wake``, ``async_predict``,
        ``async_run_remote``, ``async_request``, ``async_queue_status``, ``model_apis``, ``training_files`` for the
        presigned URLs of checkpoints, or the path of a management call without ``/v1/``, in which ``*`` stands for
        anything), by default any of these. ``webhook`` matches deliveries of webhooks, see below.
    :param method: HTTP method to match, by default any.
    :param times: number of requests into which the fault is injected; ``None`` for all until the faults are cleared.
    :param delay: seconds to wait before anything else happens. A management call is carried out after it even if the
        client has disconnected.
    :param status: HTTP status to send in place of the model's response.
    :param body: body to send with ``status``, by default ``{"error": "Injected fault"}``. Bytes and str are sent
        unchanged, anything else as JSON. If ``body`` is a function, it is called with the request's body and returns
        the body to send, for example an error that quotes the input.
    :param headers: headers to send with ``status``, for example ``{"Retry-After": "2"}``. They are encoded in
        UTF-8.
    :param interim_status: HTTP status of an interim response to send before the response, such as 103 (Early Hints).
    :param reset: whether to reset the connection instead of sending a response.
    :param after_model: whether to run the model and discard its response before ``status`` is sent or the connection is
        reset. An async request is accepted in this case, and a management call is carried out, but the caller does not
        get its result.
    :param truncate_after: number of bytes of the response body after which the connection is closed.
    :param after_webhook: whether the response to an async submission is held back until the submitted async request
        has ended. If that async request has a webhook, the delivery of the webhook must have ended too.

    With the action ``webhook``, the fault is injected into an attempt to deliver a webhook. ``delay`` delays the
    attempt. With ``status`` or ``reset``, the webhook is not sent, and the fault replaces the receiver's response:

    - Status 200: the webhook counts as delivered.
    - Status 503: the emulator makes a second attempt.
    - Status 400 or ``reset``: the webhook counts as not delivered.

    If ``after_model`` is true too, the webhook is sent, and only the receiver's response is replaced. With
    ``after_model=True, status=503``, the receiver therefore gets the webhook twice.
    """

    target: str | None = None
    action: str | None = None
    method: str | None = None
    times: int | None = 1
    delay: float = 0.0
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    interim_status: int | None = None
    reset: bool = False
    after_model: bool = False
    truncate_after: int | None = None
    after_webhook: bool = False

    def __post_init__(self) -> None:
        if self.after_model and self.status is None and not self.reset:
            raise ValueError("after_model needs status or reset, which replace the model's response.")
        if self.interim_status not in {None, 100, 102, 103}:
            raise ValueError("interim_status must be 100, 102 or 103; other statuses are not interim responses.")

    @property
    def replaces_response(self) -> bool:
        """Whether the fault replaces the model's response."""
        return self.reset or self.status is not None

    def matches(self, address: Address, method: str) -> bool:
        """Return whether the fault is injected into a request.

        :param address: address of the request.
        :param method: HTTP method of the request.
        """
        if self.action is None and address.action == WEBHOOK:
            return False  # A fault without an action matches incoming requests only, and a webhook is outgoing.
        if self.target not in {None, address.id} or self.method not in {None, method}:
            return False
        return self.action is None or fnmatchcase(address.action, self.action)

    def response_body(self, request_body: bytes) -> tuple[bytes, str]:
        """Return the response body and its content type.

        :param request_body: body of the matching request.
        """
        body = self.body(request_body) if callable(self.body) else self.body
        if isinstance(body, bytes):
            return body, "application/octet-stream"
        if isinstance(body, str):
            return body.encode(), "text/plain; charset=utf-8"
        return json.dumps({"error": "Injected fault"} if body is None else body).encode(), "application/json"


class Faults:
    """Injected faults that have not happened yet. The methods can be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[Fault, int | None]] = []

    def add(self, *faults: Fault) -> None:
        """Add faults. If several faults match a request, the one that was added first is injected."""
        with self._lock:
            self._pending.extend((fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._pending.clear()

    @property
    def pending(self) -> list[Fault]:
        """Faults that have not happened yet."""
        with self._lock:
            return [fault for fault, _ in self._pending]

    def take(self, address: Address, method: str) -> Fault | None:
        """Return the fault to inject into a request, and count down its ``times``; ``None`` if no fault matches."""
        if not self._pending:
            return None
        with self._lock:
            for index, (fault, remaining) in enumerate(self._pending):
                if not fault.matches(address, method):
                    continue
                if remaining is not None and remaining <= 1:
                    del self._pending[index]
                else:
                    self._pending[index] = (fault, None if remaining is None else remaining - 1)
                return fault
        return None
