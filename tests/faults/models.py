"""What the emulator of the fault tests runs."""

import threading
from collections.abc import Callable
from typing import Any

from airflow_provider_baseten.emulator.clock import Clock

API_KEY = "right.key-of-the-tests"
WEBHOOK_SECRET = "whsec_of-the-tests"
MODEL_SECONDS = 240


class Gate:
    """Lets pass, or makes wait while it is closed."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.open()

    def open(self) -> None:
        """Let everybody pass, those too who wait."""
        self._opened.set()

    def close(self) -> None:
        """Let everybody wait."""
        self._opened.clear()

    @property
    def is_open(self) -> bool:
        """Whether everybody may pass."""
        return self._opened.is_set()

    def wait(self, seconds: float) -> None:
        """Wait until it is open."""
        self._opened.wait(seconds)


# A model for each scenario, so that none sees the requests of another; where the gate is closed, it continues to run.
GATES = {f"m{number}": Gate() for number in range(60)}


# A model for each scenario with a promotion.
PROMOTED = [f"p{number}" for number in range(30)]


def model(gate: Gate) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a model that says in capitals what it was asked, once its gate is open."""

    def answer(model_input: dict[str, Any]) -> dict[str, Any]:
        gate.wait(MODEL_SECONDS)
        return {"answer": model_input["question"].upper()}

    return answer


class RetryClock(Clock):
    """The real time, but whatever sleeps in the emulator, such as the second attempt to deliver a webhook, wakes up
    only while a gate is open, and the time may be ahead by some seconds.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        while not self.gate.is_open:
            await super().sleep(0.1)
