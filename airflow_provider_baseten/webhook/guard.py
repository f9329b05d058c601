"""Limits on the connections of a server of one's own, which uvicorn does not have."""

import asyncio
from collections import Counter
from typing import Any

from airflow_provider_baseten.webhook.buffer import peer_of


class Guard:
    """Closes connections that take too long, and the oldest when there are too many, so that strangers hold none.

    :param seconds: how long a connection may take, from its first byte to the end of the answer.
    :param most: connections at once; beyond, the oldest of the peer with the most is closed.
    """

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._peers: dict[asyncio.BaseTransport, str] = {}

    def protocol(self, base: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
        """Return a protocol that does what another one does, within the limits."""
        guard = self

        class Guarded(base):  # type: ignore[misc, valid-type]
            def connection_made(self, transport: Any) -> None:
                guard.admit(transport)
                super().connection_made(transport)

        return Guarded

    def admit(self, transport: asyncio.Transport) -> None:
        """Count a new connection, and close those that go beyond the limits, now and later."""
        self._peers = {other: peer for other, peer in self._peers.items() if not other.is_closing()}
        self._peers[transport] = peer_of((transport.get_extra_info("peername") or (None,))[0])
        if len(self._peers) > self._most:
            [(crowd, _)] = Counter(self._peers.values()).most_common(1)
            next(other for other, peer in self._peers.items() if peer == crowd).abort()  # type: ignore[attr-defined]
        asyncio.get_running_loop().call_later(self._seconds, _end, transport)


def _end(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.abort()
