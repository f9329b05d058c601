"""ASGI app that runs inside the emulator's process."""

import asyncio
import contextlib
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_baseten.emulator.errors import EmulatorError


class HostedApp:
    """ASGI app that the emulator starts and stops with ASGI's lifespan events.

    :param app: the app.
    :param label: name of the app in error messages.
    """

    def __init__(self, app: ASGIApp, label: str) -> None:
        self._app = app
        self._label = label
        self._state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        await self._app({**scope, "state": self._state.copy()}, receive, send)

    async def start(self) -> None:
        """Start the app, and return when it is ready.

        :raises EmulatorError: the startup of the app failed.
        """
        # New queues, because the old ones may contain messages of an earlier run.
        self._events, self._replies = asyncio.Queue(), asyncio.Queue()
        self._task = asyncio.create_task(self._run())
        await self._events.put({"type": "lifespan.startup"})
        reply = await self._replies.get()
        if reply["type"] == "lifespan.startup.failed":
            raise EmulatorError(f"{self._label} could not be started: {reply.get('message', '')}")

    async def stop(self) -> None:
        """Shut the app down."""
        if self._task is not None:
            await self._events.put({"type": "lifespan.shutdown"})
            await self._task

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        with contextlib.suppress(Exception):  # An app that does not support lifespan events may raise.
            await self._app(scope, self._events.get, self._replies.put)
        await self._replies.put({"type": "lifespan.unsupported"})
