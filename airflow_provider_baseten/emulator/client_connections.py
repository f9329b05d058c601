"""The server's open connections, to break one off."""

import socket
import struct
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.types import Scope

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientConnections:
    """Finds the connection that a request came by. Lives in the event loop of the server."""

    server: uvicorn.Server | None = None

    def end(self, scope: Scope, *, reset: bool) -> None:
        """End the connection of a request before the answer is complete.

        :param scope: ASGI scope of the request.
        :param reset: whether by a reset, which also loses what is still on its way.
        """
        transport = self._transport(scope)
        if transport is None:
            return
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()

    def send_interim(self, scope: Scope, status: int) -> None:
        """Send an answer that the answer follows, for which ASGI has no message.

        :param scope: ASGI scope of the request.
        :param status: its status, for example 103.
        """
        transport = self._transport(scope)
        if transport is not None:
            transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
            )

    def is_open(self, scope: Scope) -> bool:
        """Return whether the client of a request is still connected."""
        transport = self._transport(scope)
        return transport is not None and not transport.is_closing()

    def _transport(self, scope: Scope) -> Any:
        connections = self.server.server_state.connections if self.server is not None else ()
        for connection in connections:
            if getattr(connection, "client", None) == scope["client"]:
                return connection.transport
        return None
