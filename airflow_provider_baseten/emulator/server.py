"""HTTP server that runs in a background thread."""

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.errors import EmulatorError

# Maximum size of the headers of a request, the same as that of Cloudflare, which is in front of Baseten.
_MAX_HEADER_BYTES = 131_072
# Interval of uvicorn's regular work, such as updating the Date header.
_MAINTENANCE_SECONDS = 0.1
# Maximum time that the shutdown waits until the cancelled requests have ended and the connections are closed.
_MAX_SHUTDOWN_SECONDS = 5.0


class Server(uvicorn.Server):
    """uvicorn server that signals another thread when it is ready, and that stops without delay.

    An unmodified uvicorn server checks only every 0.1 seconds whether it should stop.

    :param app: ASGI app to serve.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                # h11 is what Truss's server uses. uvicorn's other HTTP parser, httptools, drops the body of a request
                # with an `Upgrade` header.
                http="h11",
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=60,
                backlog=2048,
            )
        )
        #: Event that is set when the server listens, or when it failed to start.
        self.start_completed = threading.Event()
        #: Exception with which the server failed, ``None`` if it did not fail.
        self.failure: Exception | None = None
        self._stop_requested = asyncio.Event()

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the server. Call this method from a thread other than the server's.

        :param loop: event loop in which the server runs.
        """
        loop.call_soon_threadsafe(self._stop_requested.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and then set ``start_completed``."""
        await super().startup(sockets)
        self.start_completed.set()

    async def main_loop(self) -> None:
        """Run until a stop is requested."""
        ticks = itertools.count()
        while not self._stop_requested.is_set():
            await self.on_tick(next(ticks))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop_requested.wait(), _MAINTENANCE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, cancel the requests in flight and close all connections."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_SHUTDOWN_SECONDS):
                while tasks := list(self.server_state.tasks):
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                for connection in list(self.server_state.connections):
                    connection.shutdown()
                while self.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it.
                    await asyncio.sleep(0.001)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    :param host: IP address or host name.
    :param port: port, 0 for a free one.
    :raises EmulatorError: the address is in use or not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        reason = os.strerror(exc.errno or 0)
        raise EmulatorError(f"Cannot listen on {host}:{port} ({reason}); choose another port (--port).") from exc
    return listener


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop factory. If uvloop is not installed, return ``None``: asyncio then uses its own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
