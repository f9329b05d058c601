"""What the tests of the management API share: an emulator on a clock that stands still, and a caller."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from airflow_provider_baseten.emulator import Emulator, ManualClock


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def echo(model_input: Any) -> Any:
    return model_input


class Caller:
    """Calls the management API and models of one emulator."""

    def __init__(self, baseten: Emulator, clock: ManualClock) -> None:
        self.baseten = baseten
        self.clock = clock
        self._client = httpx.Client(base_url=f"{baseten.url}/", timeout=20, trust_env=False)

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return self._client.request(method, f"v1/{path}", **content, **options)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        response = self.send(method, path, body, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def deployment(self, deployment_id: str = "md1") -> dict[str, Any]:
        return self.get(f"models/m/deployments/{deployment_id}")

    def status(self, deployment_id: str = "md1") -> str:
        return self.deployment(deployment_id)["status"]

    def predict(self, model_input: Any = 1, target: str = "environments/production") -> httpx.Response:
        return self._client.post(f"model-m/{target}/predict", json=model_input)

    def advance(self, seconds: float) -> None:
        """Sets the clock forward, and returns when what was due then has happened."""
        until_time = self.clock.now() + seconds
        self.clock.advance(seconds)
        until(lambda: self.clock.now() >= until_time)


@contextmanager
def managing(models: Any = None, start: float = 1_790_000_000.0, **options: Any) -> Iterator[Caller]:
    clock = ManualClock(start=start)
    with Emulator(models or {"m": echo}, clock=clock, **options) as baseten:
        yield Caller(baseten, clock)
