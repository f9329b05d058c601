"""Records of received requests, for assertions in tests."""

import threading
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RecordedRequest:
    """Request that the emulator received. Rejected requests are recorded too.

    :param method: HTTP method.
    :param path: path as received, percent-encoded.
    :param query: query string without the question mark.
    :param headers: request headers with lower-case names. ``authorization`` holds only the scheme, never the key.
    :param received_at: time of arrival in seconds since the epoch.
    :param request_id: id assigned by the emulator, returned in the header ``X-Baseten-Request-Id``.
    :param model_id: id of the called model, if any.
    :param chain_id: id of the called chain, if any.
    :param action: ``predict``, ``run_remote``, ``sync``, ``wake``, ``model_apis``...; ``None`` for an unknown path.
    :param environment: name of the called environment, if any.
    :param deployment_id: id of the called deployment, if the path contains one.
    :param regional: whether the environment was part of the host name.
    :param route: for ``sync`` and Model APIs, the path on the model's server; for ``async_request``, a slash and the id
        of the async request; empty for any other action.
    :param status: HTTP status of the response. It is ``None`` until the response begins, and 499 if the client
        disconnected before that.
    :param body_bytes: number of bytes read from the request body.
    :param response_bytes: number of bytes of the response body that were sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    received_at: float
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
class RequestRecords:
    """Records of the most recent requests, written by the server's thread and readable from any thread.

    :param limit: maximum number of records.
    """

    limit: int
    _requests: deque[RecordedRequest] = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._requests = deque(maxlen=self.limit)

    def add(self, request: RecordedRequest) -> None:
        """Add the record of a new request; the gateway completes the record later."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """Return all records, oldest first."""
        with self._lock:
            return list(self._requests)
