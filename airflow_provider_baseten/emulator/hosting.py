"""ASGI app that runs inside the emulator's process."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_baseten.emulator.errors import EmulatorError


class HostedApp:
    """ASGI app that the emulator starts and stops with ASGI's lifespan events.

    :param app: the app.
    :param label: name of the app in error messages.
    :param is_own: whether the app runs one deployment only. Then each start of the deployment starts the app again.
    """

    def __init__(self, app: ASGIApp, label: str, *, is_own: bool = False) -> None:
        self.is_own = is_own
        #: Whether the app starts with the emulator. The own app of a deployment that is deactivated does not.
        self.is_wanted = True
        self._app = app
        self._label = label
        self._state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._restarts = 0

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

    def restart(self, then: Callable[[EmulatorError | None], None]) -> None:
        """Stop the app and start it again, in a task.

        If the emulator is not running, there is nothing to do: the app starts with the emulator.

        :param then: function that is called after the start, with the error if it failed. It is not called if there is
            another call of this method or of :meth:`cancel_restart` before.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            then(None)
            return
        self.cancel_restart()
        number, previous = self._restarts, self._restart

        async def run() -> None:
            # The start of a model can't be interrupted.
            if previous is not None:
                await asyncio.wait([previous])
            if number != self._restarts:
                return
            error = None
            try:
                await self.stop()
                await self.start()
            except EmulatorError as exc:
                error = exc
            if number == self._restarts:
                then(error)

        self._restart = loop.create_task(run())

    def cancel_restart(self) -> None:
        """Let a restart in progress have no effect."""
        self._restarts += 1

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        with contextlib.suppress(Exception):  # An app that does not support lifespan events may raise.
            await self._app(scope, self._events.get, self._replies.put)
        await self._replies.put({"type": "lifespan.unsupported"})
