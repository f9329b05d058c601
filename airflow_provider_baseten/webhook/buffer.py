"""Memory for the bodies that are being received, shared among all who send."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address


@dataclass(eq=False, slots=True)
class Body:
    """A body that arrives.

    :param peer: who sends it.
    :param number: the later it began, the higher.
    :param content: what has arrived; empty once it was given up.
    :param open: whether it still arrives, and can be given up.
    :param verified: whether it is known to come from Baseten.
    :param given_up: whether its memory was needed for others.
    """

    peer: str
    number: int
    content: bytearray = field(default_factory=bytearray)
    open: bool = True
    verified: bool = False
    given_up: bool = False

    def verify(self) -> None:
        """Count it no longer as what a stranger may have sent."""
        self.verified = True


class Buffer:
    """Decides which bodies are given up when too much arrives at once.

    Anybody can send a body. So the unverified bytes are counted for each peer, a peer gets no more than its share, and
    the largest body of the peer with the most bytes goes first: strangers who send much don't crowd out a delivery.

    :param total: bytes of all bodies.
    :param peer_share: bytes of unverified bodies from one peer.
    """

    def __init__(self, total: int, peer_share: int) -> None:
        self._total = total
        self._peer_share = peer_share
        self._bodies: set[Body] = set()
        self._count = 0

    @contextmanager
    def body(self, host: str | None) -> Iterator[Body]:
        """Count a body as long as it is needed.

        :param host: address of who sends it.
        """
        self._count += 1
        body = Body(peer_of(host), self._count)
        self._bodies.add(body)
        try:
            yield body
        finally:
            self._bodies.remove(body)

    def add(self, body: Body, chunk: bytes) -> None:
        """Add to a body, and give up bodies, this one perhaps, if all are too large together."""
        if body.given_up:
            return
        body.content += chunk
        self._shrink((other for other in self._bodies if other.peer == body.peer), self._peer_share, _is_unverified)
        self._shrink(self._bodies, self._total, lambda _: True)

    def _shrink(self, bodies: Iterable[Body], limit: int, counts: Callable[[Body], bool]) -> None:
        counted = [body for body in bodies if counts(body)]
        while sum(len(body.content) for body in counted) > limit and (victim := victim_of(counted)):
            victim.given_up = True
            victim.content.clear()


def victim_of(bodies: Iterable[Body]) -> Body | None:
    """Return the body to give up: of the peer with the most unverified bytes the largest, and of equals the newest."""
    shares: Counter[str] = Counter()
    for body in bodies:
        if not body.verified:
            shares[body.peer] += len(body.content)
    candidates = [body for body in bodies if body.open and body.content]
    return max(candidates, key=lambda body: (shares[body.peer], len(body.content), body.number), default=None)


def peer_of(host: str | None) -> str:
    """Return whom an address belongs to: who has one of IPv6 has all with the same first half."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return host or ""
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else str(address)


def _is_unverified(body: Body) -> bool:
    return not body.verified
