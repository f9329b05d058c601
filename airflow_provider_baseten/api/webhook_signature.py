"""Whether a webhook delivery comes from Baseten, and whether it is a recent one."""

import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime

TOLERANCE = 300.0

# Baseten sends one item for each valid secret: two while they are rotated.
_MAX_ITEMS = 16

_ITEM = re.compile(r"v1=([0-9a-f]{64})", re.ASCII)


def verify(body: bytes, header: str, secrets: Sequence[str]) -> bool:
    """Tell whether one of the secrets made one of the signatures.

    While secrets are rotated there are several on both sides, in any order, so each is held against each. The time this
    takes depends on how many there are and on the size of the body, not on which of them match.

    :param body: the bytes as they arrived.
    :param header: ``X-BASETEN-SIGNATURE``: items ``v1=<hex>`` separated by commas. Items of another form are passed
        over; more than 16 are no header of Baseten's.
    :param secrets: the whole secrets, with ``whsec_``. An empty one is passed over: anybody could sign with it.
    """
    items = header.split(",", _MAX_ITEMS)
    if len(items) > _MAX_ITEMS:
        return False
    signatures = [match[1] for item in items if (match := _ITEM.fullmatch(item.strip()))]
    if not signatures:
        return False
    matches = 0
    for secret in filter(None, secrets):
        expected = hmac.digest(secret.encode(errors="surrogatepass"), body, "sha256").hex()
        # No early exit, neither here nor in `any`.
        matches += sum(hmac.compare_digest(expected, signature) for signature in signatures)
    return matches > 0


def is_recent(time: str | None, *, now: float, tolerance: float = TOLERANCE) -> bool:
    """Tell whether a delivery's ``time`` is near enough to now.

    Clocks may differ either way, so a time to come is judged like one that has passed. A time that is missing or can't
    be read is not recent: the age is the only thing that tells a delivery from a copy of it.

    :param time: ISO 8601, in UTC unless it names an offset.
    :param now: seconds since the epoch.
    :param tolerance: seconds, by default the 300 that Baseten advises.
    """
    try:
        moment = datetime.fromisoformat(time or "")
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return False
    return abs(now - seconds) <= tolerance
