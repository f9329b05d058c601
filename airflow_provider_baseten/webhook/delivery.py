"""Whether a delivery comes from Baseten: decided here, answered in :mod:`airflow_provider_baseten.webhook.app`."""

import re
import secrets as random
from dataclasses import dataclass

from airflow_provider_baseten.api.webhook import Delivery, verify
from airflow_provider_baseten.hooks.connection import BasetenConnection

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

_SIGNATURE = re.compile(r"v1=[0-9a-f]{64}", re.ASCII)
# Longer is no header of Baseten's.
_MAX_SIGNATURE = 2000

# Nobody knows it, so nothing verifies against it.
_NO_SECRET = random.token_hex()


class Refused(Exception):  # noqa: N818 - an answer, not a fault.
    """The delivery is not taken.

    :param status: HTTP status; Baseten tries again after 503 only.
    :param reason: one sentence for the answer and the log, without anything that came with the delivery.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A delivery that somebody makes.

    :param body: the bytes as they arrived.
    :param signature: the signature header; empty if there is none.
    :param request_id: the request id header.
    """

    body: bytes
    signature: str
    request_id: str | None

    @property
    def may_be_signed(self) -> bool:
        """Whether the signature at least has the right form."""
        return len(self.signature) <= _MAX_SIGNATURE and bool(_SIGNATURE.search(self.signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentic:
    """What a delivery that comes from Baseten says of itself.

    :param connection: the connection it is for.
    :param request_id: the async request whose result it brings.
    :param time: when it was sent, as Baseten wrote it.
    :param signed: whether a signature says so; otherwise the connection allows unsigned webhooks.
    """

    connection: BasetenConnection
    request_id: str
    time: str | None
    signed: bool


def identify(attempt: Attempt, connection: BasetenConnection | None) -> Authentic:
    """Check that a delivery comes from Baseten, and for which request.

    :param connection: the connection it is made to, ``None`` if there is none.
    :raises Refused: it is not taken.
    """
    signed = connection is not None and verify(
        attempt.body, attempt.signature, connection.webhook_secrets or [_NO_SECRET]
    )
    # Every failure up to here answers 401, so that nobody without a secret can probe for connections or ids.
    if connection is None or not (signed or _may_be_unsigned(attempt, connection)):
        if connection is None:
            verify(attempt.body, attempt.signature, [_NO_SECRET])
        raise Refused(401, "The signature is not valid for this connection.")
    try:
        delivery = Delivery.parse(attempt.body)
    except ValueError:
        raise Refused(400, "The body is not what Baseten delivers.") from None
    # The id becomes a file name.
    if not _REQUEST_ID.fullmatch(delivery.request_id):
        raise Refused(400, "The request id is not one of Baseten's.")
    # The header is not signed; it is only good for noticing a mix-up.
    if attempt.request_id not in {None, delivery.request_id}:
        raise Refused(400, "The request ids in header and body differ.")
    return Authentic(connection=connection, request_id=delivery.request_id, time=delivery.time, signed=signed)


def _may_be_unsigned(attempt: Attempt, connection: BasetenConnection) -> bool:
    # Even so a signature that could have been right, and is not, is a forgery or the wrong secret.
    return connection.allow_unsigned_webhooks and not (attempt.signature and connection.webhook_secrets)
