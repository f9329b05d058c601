"""Deliveries, and the check that they come from Baseten."""

import re
import secrets as random
from dataclasses import dataclass

from airflow_provider_baseten.api.webhook import Delivery, verify
from airflow_provider_baseten.hooks.connection import BasetenConnection

_CONN_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

#: Beginning of the request ids of test deliveries, see :mod:`airflow_provider_baseten.checks.delivery`. Ids of Baseten
#: are hexadecimal.
TEST_PREFIX = "airflow-check-"

_SIGNATURE = re.compile(r"v1=[0-9a-f]{64}", re.ASCII)
# Longest signature header with which a delivery is spooled before its signature is checked, in characters. Baseten's
# header is shorter.
_MAX_SIGNATURE = 2000

# Secret to verify with if there is no connection, or the connection has no secret. It is random, so that no signature
# matches it.
_NO_SECRET = random.token_hex()


class Refusal(Exception):  # noqa: N818 - a response, not a fault.
    """A delivery is not accepted.

    :param status: HTTP status: 503 if Baseten should send the delivery again, otherwise 4xx.
    :param reason: sentence for the response and the log. It quotes nothing of the delivery, because anybody may have
        sent it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedDelivery:
    """Delivery as it was received. Anybody may have sent it.

    :param body: the bytes of the body.
    :param signature: the signature header; empty if there is none.
    :param request_id: the request id header.
    :param is_event: whether it was sent to ``/events``, so that it starts DAGs: no task waits for the result.
    """

    body: bytes
    signature: str
    request_id: str | None
    is_event: bool = False

    @property
    def may_be_signed(self) -> bool:
        """Whether the signature has the right form. Only ``identify`` checks that the signature is valid."""
        return len(self.signature) <= _MAX_SIGNATURE and bool(_SIGNATURE.search(self.signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedDelivery:
    """Facts of a delivery that comes from Baseten.

    :param connection: connection that the delivery is for.
    :param request_id: id of the async request whose result is delivered.
    :param time: time of sending, as written by Baseten.
    :param signed: whether a signature proves the origin. If not, the connection allows unsigned webhooks.
    """

    connection: BasetenConnection
    request_id: str
    time: str | None
    signed: bool


def is_test(request_id: str) -> bool:
    """Return whether a delivery is a test delivery, for which no task waits."""
    return request_id.startswith(TEST_PREFIX)


def valid_conn_id(text: str) -> str:
    """Return the connection id in the URL of a delivery.

    An invalid id is replaced by an empty string, so that it is not logged: a stranger may have written it.
    """
    return matched[0] if (matched := _CONN_ID.fullmatch(text)) else ""


def identify(attempt: ReceivedDelivery, connection: BasetenConnection | None) -> VerifiedDelivery:
    """Check that a delivery comes from Baseten, and return its facts.

    :param connection: connection in the URL of the delivery, ``None`` if there is no such connection.
    :raises Refusal: the delivery is not accepted.
    """
    signed = connection is not None and verify(
        attempt.body, attempt.signature, connection.webhook_secrets or [_NO_SECRET]
    )
    # Security: every failure up to here gets the same response (401). So a sender without a secret can't find out which
    # connections or request ids exist.
    if connection is None or not (signed or _may_be_unsigned(attempt, connection)):
        if connection is None:
            # There is no secret to verify the signature with. A random secret is used, only to take the same time as
            # for a connection that exists. Otherwise the response time would show which connections exist.
            verify(attempt.body, attempt.signature, [_NO_SECRET])
        raise Refusal(401, "The signature is not valid for this connection.")
    try:
        delivery = Delivery.parse(attempt.body)
    except ValueError:
        raise Refusal(400, "The body is not a delivery of Baseten.") from None
    # Security: the id becomes a file name in the result store, so it must not hold a path.
    if not _REQUEST_ID.fullmatch(delivery.request_id):
        raise Refusal(400, "The request id is not one of Baseten's.")
    # The signature covers the body but not the header with the request id. So an equal id in the header proves nothing,
    # but a different id shows a mix-up.
    if attempt.request_id not in {None, delivery.request_id}:
        raise Refusal(400, "The request ids in header and body differ.")
    return VerifiedDelivery(connection=connection, request_id=delivery.request_id, time=delivery.time, signed=signed)


def _may_be_unsigned(attempt: ReceivedDelivery, connection: BasetenConnection) -> bool:
    # A delivery counts as unsigned if it has no signature, or if the connection has no secrets to check a signature
    # with. If there are secrets, a wrong signature is never accepted: the delivery is forged, or the secret is wrong.
    return connection.allow_unsigned_webhooks and not (attempt.signature and connection.webhook_secrets)
