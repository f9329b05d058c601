"""A server that knows the statuses of async requests, and what triggers need around them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from airflow_provider_baseten.triggers.async_request import BasetenAsyncRequestTrigger

Answer = tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], dict[str, str]]

TARGET = {"model_id": "abc", "chain_id": None, "environment": None, "deployment_id": None, "regional": False}
QUEUED: Answer = (200, {"status": "QUEUED", "webhook_status": "PENDING"})
NOT_FOUND: Answer = (404, {"error": "no such request"})


class StatusServer:
    """Answers in the event loop of a test what ``answer`` says; ``calls`` is who asked for what and when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, str]] = []
        self.keys = {"secret-key-1"}
        self.connections = 0
        self.delay = 0.0
        self.answer: Callable[[str], Answer | None] = lambda request_id: QUEUED
        self.url = ""

    def times(self, method: str | None = None, request_id: str | None = None) -> list[float]:
        return [at for at, m, i in self.calls if method in (None, m) and request_id in (None, i)]

    def most_in_a_second(self) -> int:
        times = sorted(self.times())
        return max((sum(start <= at < start + 1 for at in times) for start in times), default=0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        self.connections -= 1
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        request_id = path.removeprefix("/model-abc/async_request/")
        self.calls.append((time.monotonic(), method, request_id))
        await asyncio.sleep(self.delay)
        answer = self._answer(head, method, request_id)
        if answer is None:
            return False
        status, body, *more = answer
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": len(data), **(more[0] if more else {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + data)
        await writer.drain()
        return True

    def _answer(self, head: str, method: str, request_id: str) -> Answer | None:
        if not any(f"Bearer {key}" in head for key in self.keys):
            return 401, {"error": "the key is not known"}
        if method == "DELETE":
            return 200, {"request_id": request_id, "canceled": True}
        return self.answer(request_id)


def trigger(
    *request_ids: str, deadline: float | None = None, expects_delivery: bool = False, **more: Any
) -> BasetenAsyncRequestTrigger:
    return BasetenAsyncRequestTrigger(
        baseten_conn_id="baseten_default",
        target=TARGET,
        request_ids=list(request_ids),
        expects_delivery=expects_delivery,
        deadline=time.time() + 30 if deadline is None else deadline,
        **{"poll_interval": 0.2, **more},
    )


async def outcomes(waiting_trigger: BasetenAsyncRequestTrigger) -> dict[str, str]:
    """Run a trigger as Airflow does, and return what its only event says."""
    events = [event.payload async for event in waiting_trigger.run()]
    assert len(events) == 1
    assert events[0].keys() == {"outcomes", "seconds"}
    return dict(events[0]["outcomes"])


def deliver(store: Path, *request_ids: str) -> None:
    for request_id in request_ids:
        (store / f"{request_id}.json").write_text(json.dumps({"request_id": request_id, "data": "the-output"}))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition is no event.
            await asyncio.sleep(0.01)


def same(outcome: str, request_ids: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(request_ids, outcome)
