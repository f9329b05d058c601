"""What the tests of async inference share: a receiver of webhooks, and a caller."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from airflow_provider_baseten.emulator import AsyncRequest, Emulator


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.002)


@dataclass(frozen=True)
class Delivery:
    """A webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers webhooks with the statuses that it is told, then with 204; while it is closed it does not answer."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.deliveries: list[Delivery] = []
        self.statuses: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def take(self, delivery: Delivery) -> int:
        status = self.statuses.pop(0) if self.statuses else 204
        self.deliveries.append(delivery)
        self.open.wait(20)
        return status


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(Delivery(self.path, headers, body)))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.open.set()
            server.shutdown()
            thread.join()


class Caller:
    """Someone who calls one model or chain asynchronously."""

    def __init__(self, baseten: Emulator, name: str = "model-m") -> None:
        self.baseten = baseten
        self.url = f"{baseten.url}/{name}"
        self._action = "async_predict" if name.startswith("model") else "async_run_remote"
        self._client = httpx.Client(timeout=20, trust_env=False)

    def post(self, body: Any) -> httpx.Response:
        return self._client.post(f"{self.url}/production/{self._action}", json=body)

    def submit(self, model_input: Any = None, **options: Any) -> AsyncRequest:
        answer = self.post({"model_input": model_input, **options})
        assert answer.status_code == 201, answer.text
        return self.baseten.async_requests[answer.json()["request_id"]]

    def run(self, model_input: Any = None, **options: Any) -> AsyncRequest:
        """Submits a request and waits until nothing more happens to it."""
        request = self.submit(model_input, **options)
        until(lambda: request.settled_at is not None)
        return request

    def status(self, request: AsyncRequest) -> dict[str, Any]:
        return self._client.get(f"{self.url}/async_request/{request.request_id}").json()

    def cancel(self, request: AsyncRequest) -> dict[str, Any]:
        return self._client.delete(f"{self.url}/async_request/{request.request_id}").json()

    def predict(self, model_input: Any) -> Any:
        return self._client.post(f"{self.url}/production/predict", json=model_input).json()

    def queue(self) -> tuple[int, int]:
        status = self._client.get(f"{self.url}/production/async_queue_status").json()
        return status["num_queued_requests"], status["num_in_progress_requests"]
