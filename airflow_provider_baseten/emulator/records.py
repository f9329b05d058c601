"""What was asked, so that a test can count."""

import threading
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RecordedRequest:
    """One request that reached the emulator, also one that it refused.

    :param method: HTTP method.
    :param path: path as it was sent, percent-encoded.
    :param query: query string without the question mark.
    :param headers: request headers with lower-case names; of ``authorization`` only the scheme.
    :param at: when it arrived, seconds since the epoch.
    :param request_id: id given to it, the answer's ``X-Baseten-Request-Id``.
    :param model_id: model that was addressed, if any.
    :param chain_id: chain that was addressed, if any.
    :param action: ``predict``, ``run_remote``, ``sync``, ``wake``, ``model_apis``...; ``None`` when the path names
        nothing.
    :param environment: environment that was addressed.
    :param deployment_id: deployment that was addressed.
    :param regional: whether the environment stood in the host.
    :param route: for ``sync`` and Model APIs, the path on the model's server.
    :param status: HTTP status of the answer, 499 when the client went away first, ``None`` while there is none.
    :param body_bytes: how much of the request body was read.
    :param response_bytes: how much of a response body was sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    at: float
    request_id: str
    model_id: str | None = None
    chain_id: str | None = None
    action: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    regional: bool = False
    route: str = ""
    status: int | None = None
    body_bytes: int = 0
    response_bytes: int = 0


@dataclass
class Records:
    """The newest requests; written by the server's thread, read by any.

    :param limit: how many are kept.
    """

    limit: int
    _requests: deque[RecordedRequest] = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._requests = deque(maxlen=self.limit)

    def add(self, request: RecordedRequest) -> None:
        """Remember a request; it is filled in while it is answered."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """Return what is remembered, oldest first."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._requests.clear()
