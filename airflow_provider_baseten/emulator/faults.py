"""Faults that a test or a user injects."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_baseten.emulator.addressing import Address

WEBHOOK = "webhook"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next matching requests.

    :param target: id of the model or chain that is hit, by default any.
    :param action: action that is hit (``predict``, ``run_remote``, ``sync``, ``wake``, ``async_predict``,
        ``async_run_remote``, ``async_request``, ``async_queue_status``, ``model_apis``, or the path of a management
        call without ``/v1/``), by default any; ``webhook`` for attempts to deliver one, see below.
    :param method: HTTP method that is hit, by default any.
    :param times: how many requests are hit; ``None`` for all until the faults are cleared.
    :param delay: seconds to wait before anything else happens.
    :param status: status that is answered instead of the model's answer.
    :param body: body of that answer: bytes and str as they are, anything else as JSON; by default
        ``{"error": "Injected fault"}``. A function is called with the request's body and returns one of these, for
        example an error that quotes the input.
    :param headers: headers of that answer, for example ``{"Retry-After": "2"}``; sent in UTF-8.
    :param interim_status: status that is sent before the answer, for example 103 (Early Hints).
    :param reset: reset the connection instead of answering.
    :param after_model: run the model first and throw its answer away; an async request is accepted, and its caller does
        not learn that.
    :param truncate_after: reset the connection after so many bytes of the response's body.
    :param after_webhook: hold the answer to an async submission back until the request is finished and its webhook was
        delivered.

    What goes wrong with a webhook is said in the same words: ``delay`` makes it late; ``status`` or ``reset`` drop it,
    and the emulator takes the status for the receiver's answer (200: delivered, 503: try again, 400 or ``reset``: not
    delivered). With ``after_model`` it is sent all the same: ``after_model=True, status=503`` delivers it twice.
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
            raise ValueError("after_model needs a status or reset: what happens to the answer?")
        if self.interim_status not in {None, 100, 102, 103}:
            raise ValueError("interim_status is one of 100, 102 and 103: other statuses end an exchange.")

    @property
    def replaces_answer(self) -> bool:
        """Whether the model's own answer is never seen."""
        return self.reset or self.status is not None

    def matches(self, address: Address, method: str) -> bool:
        """Return whether a request to this address is hit."""
        if self.action is None and address.action == WEBHOOK:
            return False  # Other requests come in, this one goes out.
        wanted = (self.target, self.action, self.method)
        return all(want in {None, is_} for want, is_ in zip(wanted, (address.id, address.action, method), strict=True))

    def content(self, request_body: bytes) -> tuple[bytes, str]:
        """Return the body and its content type.

        :param request_body: body of the request that is hit.
        """
        body = self.body(request_body) if callable(self.body) else self.body
        if isinstance(body, bytes):
            return body, "application/octet-stream"
        if isinstance(body, str):
            return body.encode(), "text/plain; charset=utf-8"
        return json.dumps({"error": "Injected fault"} if body is None else body).encode(), "application/json"


class Faults:
    """Faults that have not happened yet; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[Fault, int | None]] = []

    def add(self, *faults: Fault) -> None:
        """Let these happen, in this order, each to the first request that matches it."""
        with self._lock:
            self._pending.extend((fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._pending.clear()

    @property
    def pending(self) -> list[Fault]:
        """Faults that can still happen."""
        with self._lock:
            return [fault for fault, _ in self._pending]

    def take(self, address: Address, method: str) -> Fault | None:
        """Return the fault that hits this request, and count it."""
        if not self._pending:
            return None
        with self._lock:
            for index, (fault, left) in enumerate(self._pending):
                if not fault.matches(address, method):
                    continue
                if left is not None and left <= 1:
                    del self._pending[index]
                else:
                    self._pending[index] = (fault, None if left is None else left - 1)
                return fault
        return None
