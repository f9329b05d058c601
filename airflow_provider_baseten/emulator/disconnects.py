"""Detection of a client's disconnect, for the code of a model."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from starlette.requests import Request

_POLL_SECONDS = 0.5


def make_watch_disconnect(request: Request) -> Callable[[], AbstractContextManager[threading.Event]]:
    """Return ``request.state.watch_disconnect``, a function of Truss that a model can call.

    That function returns a context manager, for async code and for threads, with an event that is set when the client
    disconnects.

    :param request: request of the client. ``make_watch_disconnect`` must be called in the event loop.
    """
    loop = asyncio.get_running_loop()

    @contextmanager
    def watch_disconnect() -> Iterator[threading.Event]:
        disconnected = threading.Event()

        async def poll() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette offers no event.
                await asyncio.sleep(_POLL_SECONDS)
            disconnected.set()

        polling = asyncio.run_coroutine_threadsafe(poll(), loop)
        try:
            yield disconnected
        finally:
            polling.cancel()

    return watch_disconnect
