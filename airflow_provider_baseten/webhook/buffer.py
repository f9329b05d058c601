"""Memory for the bodies that are being received, shared fairly among their senders."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address


@dataclass(eq=False, slots=True)
class Body:
    """Body of a request.

    :param peer: sender of the body, see :func:`peer_of`.
    :param number: sequence number of the request.
    :param content: the bytes received so far; empty once the body is dropped.
    :param is_open: whether the body is still being received. Only an open body can be dropped.
    :param is_verified: whether the body is known to come from Baseten.
    :param is_dropped: whether the body was dropped to free its memory.
    """

    peer: str
    number: int
    content: bytearray = field(default_factory=bytearray)
    is_open: bool = True
    is_verified: bool = False
    is_dropped: bool = False

    def mark_verified(self) -> None:
        """Note that the body comes from Baseten. From now on the limit for unverified bodies ignores this body."""
        self.is_verified = True


class Buffer:
    """Limit on the memory of all bodies. If the limit is exceeded, bodies are dropped.

    Anybody can send a body. Therefore each sender (peer) also has a limit for its unverified bodies. The largest body
    of the peer with the most unverified bytes is dropped first. So a flood of forged deliveries does not crowd out a
    real delivery.

    :param total: limit for all bodies, in bytes.
    :param peer_share: limit for unverified bodies of one peer, in bytes.
    """

    def __init__(self, total: int, peer_share: int) -> None:
        self._total = total
        self._peer_share = peer_share
        self._bodies: set[Body] = set()
        self._count = 0

    @contextmanager
    def body(self, host: str | None) -> Iterator[Body]:
        """Yield a new body. Its memory is counted until the end of the ``with`` block.

        :param host: address of the sender.
        """
        self._count += 1
        body = Body(peer_of(host), self._count)
        self._bodies.add(body)
        try:
            yield body
        finally:
            self._bodies.remove(body)

    def add(self, body: Body, chunk: bytes) -> None:
        """Append a chunk to a body. If a limit is exceeded, drop bodies, possibly this one too."""
        if body.is_dropped:
            return
        body.content += chunk
        self._shrink((other for other in self._bodies if other.peer == body.peer), self._peer_share, _is_unverified)
        self._shrink(self._bodies, self._total, lambda _: True)

    def _shrink(self, bodies: Iterable[Body], limit: int, counts: Callable[[Body], bool]) -> None:
        counted = [body for body in bodies if counts(body)]
        while sum(len(body.content) for body in counted) > limit and (victim := choose_victim(counted)):
            victim.is_dropped = True
            victim.content.clear()


def choose_victim(bodies: Iterable[Body]) -> Body | None:
    """Return the body to drop: the largest body of the peer with the most unverified bytes.

    Of equally large bodies, return the newest.
    """
    shares: Counter[str] = Counter()
    for body in bodies:
        if not body.is_verified:
            shares[body.peer] += len(body.content)
    candidates = [body for body in bodies if body.is_open and body.content]
    return max(candidates, key=lambda body: (shares[body.peer], len(body.content), body.number), default=None)


def peer_of(host: str | None) -> str:
    """Return what identifies a sender: an IPv4 address, or the first 64 bits of an IPv6 address.

    The other bits are left out, because one sender may use all IPv6 addresses that begin with the same 64 bits.
    """
    try:
        address = ip_address(host or "")
    except ValueError:
        return host or ""
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else str(address)


def _is_unverified(body: Body) -> bool:
    return not body.is_verified
