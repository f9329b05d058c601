"""What the emulator of the fault tests runs."""

import threading
from typing import Any

from airflow_provider_baseten.emulator.clock import Clock

API_KEY = "right.key-of-the-tests"
WEBHOOK_SECRET = "whsec_of-the-tests"
MODELS = [f"m{number}" for number in range(60)]


def answer(model_input: dict[str, Any]) -> dict[str, Any]:
    """Say what was asked, in capitals."""
    return {"answer": model_input["question"].upper()}


class RetryGate(Clock):
    """The real time, but the emulator's second attempt to deliver a webhook waits until a test lets it.

    Nothing else in these tests makes the emulator sleep.
    """

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.open()

    def open(self) -> None:
        """Let second attempts happen, those too that wait."""
        self._opened.set()

    def close(self) -> None:
        """Let second attempts wait."""
        self._opened.clear()

    async def sleep(self, seconds: float) -> None:
        while not self._opened.is_set():
            await super().sleep(0.1)
