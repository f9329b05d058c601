"""A server that does exactly what a test says, for what no well-behaved server does."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket], None]


def answer(
    status: int = 200, body: bytes = b"null", headers: Sequence[str] = (), content_type: str = "application/json"
) -> Behaviour:
    """Send a whole answer and close."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return raw("\r\n".join([*lines, *headers, "", ""]).encode() + body)


def raw(data: bytes) -> Behaviour:
    """Send some bytes and close."""
    return lambda connection: connection.sendall(data)


def reset(connection: socket.socket) -> None:
    """Break the connection off without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class ScriptedServer:
    """Takes one connection for each behaviour and then repeats the last one; ``requests`` is what it was sent."""

    def __init__(self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.stopping = threading.Event()
        self._behaviours = behaviours
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()

    def hang(self, connection: socket.socket) -> None:
        """Give no answer until the client goes away or the server stops."""
        connection.settimeout(0.05)
        while not self.stopping.is_set():
            try:
                if not connection.recv(1024):
                    return
            except TimeoutError:
                continue

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if self.stopping.is_set():
                    return
                try:
                    self._handle(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection)
                except OSError:  # The client went away; the test sees why at its own end.
                    continue

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            request = _read_request(connection)
            if not request:
                return
            behaviour = self._behaviours[min(len(self.requests), len(self._behaviours) - 1)]
            self.requests.append(request)
            behaviour(connection)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
