"""Limits on the number and duration of HTTP connections to the standalone receiver. uvicorn has no such limits."""

import asyncio
from collections import Counter
from typing import Any

from airflow_provider_baseten.webhook.buffer import peer_of


class Guard:
    """Limits on connections.

    The port is public. Without limits, anybody could open many connections and send nothing, until Baseten could no
    longer connect. A connection is closed when it lasts too long. If there are too many connections, the oldest
    connection of the sender with the most connections is closed. So no sender can use up all connections.

    :param seconds: longest duration of a connection, from its opening to the end of the response.
    :param most: maximum number of connections at a time.
    """

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._peers: dict[asyncio.BaseTransport, str] = {}

    def protocol(self, base: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
        """Return a subclass of an asyncio protocol that applies the limits."""
        guard = self

        class GuardedProtocol(base):  # type: ignore[misc, valid-type]
            def connection_made(self, transport: Any) -> None:
                guard.admit(transport)
                super().connection_made(transport)

        return GuardedProtocol

    def admit(self, transport: asyncio.Transport) -> None:
        """Count a new connection, and have it closed when its time is over. If there are too many, close one now."""
        self._peers = {other: peer for other, peer in self._peers.items() if not other.is_closing()}
        self._peers[transport] = peer_of((transport.get_extra_info("peername") or (None,))[0])
        if len(self._peers) > self._most:
            [(crowd, _)] = Counter(self._peers.values()).most_common(1)
            next(other for other, peer in self._peers.items() if peer == crowd).abort()  # type: ignore[attr-defined]
        asyncio.get_running_loop().call_later(self._seconds, _end, transport)


def _end(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.abort()
