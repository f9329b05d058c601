"""What is done with one delivery: decided here, answered in :mod:`airflow_provider_baseten.webhook.app`."""

import re
import secrets as random
from dataclasses import dataclass

from airflow_provider_baseten.api.async_requests import Delivery
from airflow_provider_baseten.api.signature import is_recent, verify
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.results import ResultStore

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

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


def accept(attempt: Attempt, connection: BasetenConnection | None, *, now: float) -> str:
    """Store the result that a delivery brings; one that is there already stays as it is. Blocks.

    :param connection: the connection it is made to, ``None`` if there is none.
    :param now: seconds since the epoch.
    :returns: the request id.
    :raises Refused: it is not taken.
    :raises BasetenResultStoreError: it could not be stored.
    """
    # Who can't sign learns neither which connections exist nor which ids are stored: until here all is 401.
    if connection is None or not _authentic(attempt, connection):
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
    store = ResultStore(connection.result_store)
    # A copy of an old delivery must bring nothing back that was deleted; of one that is still there it changes nothing.
    if not is_recent(delivery.time, now=now) and not store.delivered([delivery.request_id]):
        raise Refused(403, "The time in the body is missing, or too far from the receiver's.")
    store.save(delivery.request_id, attempt.body)
    return delivery.request_id


def _authentic(attempt: Attempt, connection: BasetenConnection) -> bool:
    if verify(attempt.body, attempt.signature, connection.webhook_secrets or [_NO_SECRET]):
        return True
    # Even so a signature that could have been right, and is not, is a forgery or the wrong secret.
    return connection.allow_unsigned_webhooks and not (attempt.signature and connection.webhook_secrets)
