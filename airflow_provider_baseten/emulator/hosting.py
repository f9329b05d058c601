"""An ASGI app that lives inside the emulator's process, with its startup and shutdown."""

import asyncio
import contextlib
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_baseten.emulator.errors import EmulatorError


class HostedApp:
    """Runs the ASGI lifespan of an app and passes requests to it.

    :param app: the app.
    :param label: what an error calls it.
    """

    def __init__(self, app: ASGIApp, label: str) -> None:
        self._app = app
        self._label = label
        self._state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._app({**scope, "state": self._state.copy()}, receive, send)

    async def start(self) -> None:
        """Start the app; return when it is ready.

        :raises EmulatorError: its startup failed.
        """
        self._events, self._answers = asyncio.Queue(), asyncio.Queue()  # What it said before it was stopped is old.
        self._task = asyncio.create_task(self._run())
        await self._events.put({"type": "lifespan.startup"})
        answer = await self._answers.get()
        if answer["type"] == "lifespan.startup.failed":
            raise EmulatorError(f"{self._label} could not be started: {answer.get('message', '')}")

    async def stop(self) -> None:
        """Shut the app down."""
        if self._task is not None:
            await self._events.put({"type": "lifespan.shutdown"})
            await self._task

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        with contextlib.suppress(Exception):  # An app without lifespan may raise, says the ASGI specification.
            await self._app(scope, self._events.get, self._answers.put)
        await self._answers.put({"type": "lifespan.unsupported"})
