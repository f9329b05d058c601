"""How a model notices that its client went away."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from starlette.requests import Request

_POLL_SECONDS = 0.5


def watcher(request: Request) -> Callable[[], AbstractContextManager[threading.Event]]:
    """Return what a model finds as ``request.state.watch_disconnect``.

    In its block, entered from async code or from a thread, the event is set when the client disconnects.

    :param request: the request; this must be called in the event loop.
    """
    loop = asyncio.get_running_loop()

    @contextmanager
    def watch_disconnect() -> Iterator[threading.Event]:
        disconnected = threading.Event()

        async def poll() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - it has to be asked.
                await asyncio.sleep(_POLL_SECONDS)
            disconnected.set()

        polling = asyncio.run_coroutine_threadsafe(poll(), loop)
        try:
            yield disconnected
        finally:
            polling.cancel()

    return watch_disconnect
