"""Detection of a client's disconnect, for the code of a model."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from starlette.requests import Request

_POLL_SECONDS = 0.5


def make_watch_disconnect(request: Request) -> Callable[[], AbstractContextManager[threading.Event]]:
    """Return the function that Truss gives to a model as ``request.state.watch_disconnect``.

    The model calls that function as ``with watch_disconnect() as disconnected:``, in async code or in a thread. The
    value ``disconnected`` is an event that is set when the client disconnects. ``make_watch_disconnect`` itself must
    be called in the event loop.

    :param request: request of the client.
    """
    loop = asyncio.get_running_loop()

    @contextmanager
    def watch_disconnect() -> Iterator[threading.Event]:
        disconnected = threading.Event()

        async def poll() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette has no event for it.
                await asyncio.sleep(_POLL_SECONDS)
            disconnected.set()

        polling = asyncio.run_coroutine_threadsafe(poll(), loop)
        try:
            yield disconnected
        finally:
            polling.cancel()

    return watch_disconnect
