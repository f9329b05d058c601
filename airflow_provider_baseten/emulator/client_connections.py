"""Open connections of clients to the server."""

import socket
import struct
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.types import Scope

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientConnections:
    """TCP connections of the clients.

    An ASGI app can't close or reset a connection before the response is complete, and can't send an interim response.
    This class can do both, because it uses the TCP connection itself.

    The methods must be called in the server's event loop.
    """

    server: uvicorn.Server | None = None

    def close(self, scope: Scope, *, reset: bool) -> None:
        """Close the connection of a request before the response is complete.

        :param scope: ASGI scope of the request.
        :param reset: whether to reset the connection. A reset also drops data that the client has not read yet.
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
        """Send an interim response. The final response follows later on the same connection.

        :param scope: ASGI scope of the request.
        :param status: HTTP status, for example 103.
        """
        transport = self._transport(scope)
        if transport is not None:
            transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
            )

    def is_open(self, scope: Scope) -> bool:
        """Return whether the client is still connected."""
        transport = self._transport(scope)
        return transport is not None and not transport.is_closing()

    def _transport(self, scope: Scope) -> Any:
        connections = self.server.server_state.connections if self.server is not None else ()
        for connection in connections:
            if getattr(connection, "client", None) == scope["client"]:
                return connection.transport
        return None
