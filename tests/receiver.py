"""The webhook receiver on a free port, in a thread."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from airflow_provider_baseten.webhook.app import create_app
from airflow_provider_baseten.webhook.connections import Connections, Lookup


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def receiver(lookup: Lookup, **options: Any) -> Iterator[str]:
    """Serve it; the value is its base URL.

    :param lookup: finds the connection of an id.
    :param options: further arguments of ``create_app``.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(Connections(lookup), **options)
    server = _Server(uvicorn.Config(app, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    server.ready.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        app.state.stop()
        listener.close()
