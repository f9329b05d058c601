"""State of the wait for one async request, and the rules for its end. This module does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.exceptions import BasetenNotFoundError

# Seconds for which a request must look lost until it counts as lost; at the deadline it counts as lost at once. A
# request looks lost in two cases: (1) Baseten does not know its id. (2) Baseten reports that the model has run, but the
# result has not arrived. The result may still appear: Baseten may not know a new id yet, or may repeat a delivery, or
# an object store may list a new file late.
GRACE = 60.0

# The webhook status of a request that was sent without a webhook.
NO_WEBHOOK = "NO_WEBHOOK_PROVIDED"

_MAX_STATUS_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known about an async request at one moment.

    :param delivered: whether the result of the request is in the result store.
    :param status: status of the request; ``None`` if the status call failed or was not made.
    :param webhook_status: status of the delivery of the result.
    :param gone: whether Baseten does not know the id, because it has forgotten or only just accepted the request.
    :param store_read: whether the result store could be read; also true if no delivery is expected.
    """

    delivered: bool = False
    status: str | None = None
    webhook_status: str | None = None
    gone: bool = False
    store_read: bool = True

    @classmethod
    def of_status(cls, result: Any) -> Self:
        """Return what a status call shows about a request.

        A 404 shows that Baseten does not know the request. Any other error shows nothing, so the wait continues. The
        wait also continues if the status in the response is not readable.

        :param result: response of the call, or its error.
        """
        if isinstance(result, BasetenNotFoundError):
            return cls(gone=True)
        fields = result if isinstance(result, Mapping) else {}
        return cls(status=_status(fields.get("status")), webhook_status=_status(fields.get("webhook_status")))


class Outcome(StrEnum):
    """End of the wait for an async request.

    ``ended``: the request has a result, which may be an error of the model. ``failed``: the request ended without a
    result. ``lost``: whether the request has a result is unknown. ``timeout``: the deadline passed.
    """

    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """State of the wait for one async request. It is immutable and does no I/O.

    Blocking waits, deferred waits and sensors all use :meth:`after`, so that all of them end by the same rules.

    :param expects_delivery: whether the output comes by webhook. If not, the wait ends by the status alone.
    :param is_assumed: whether ``expects_delivery`` is a guess. If a status call returns a webhook status, this status
        overrides the guess.
    :param deadline: end of the wait in seconds since the epoch.
    :param doubtful_since: when the request began to look lost, in seconds since the epoch; ``None`` if it does not.
        When the store can't be read, this time is moved to now, so that an outage of the store does not count.
    :param outcome: end of the wait; ``None`` while it continues.
    """

    expects_delivery: bool
    deadline: float
    is_assumed: bool = False
    doubtful_since: float | None = None
    outcome: Outcome | None = None

    @property
    def may_be_delivered(self) -> bool:
        """Whether the result may be delivered to the result store."""
        return self.expects_delivery or self.is_assumed

    def after(self, seen: Observation, now: float) -> "Wait":
        """Return the state of the wait after an observation.

        :param now: seconds since the epoch.
        """
        verdict = _verdict(seen, self._is_delivery_expected(seen))
        if verdict is not Outcome.LOST:
            ended = verdict or (Outcome.TIMEOUT if now >= self.deadline else None)
            still = self.doubtful_since if seen.status is None and not seen.gone else None
            return replace(self, doubtful_since=still, outcome=ended)
        # While the store can't be read, no request counts as lost. The result may be in the store, or the webhook
        # receiver may keep it until it can write to the store.
        if not seen.store_read:
            return replace(self, doubtful_since=now, outcome=Outcome.TIMEOUT if now >= self.deadline else None)
        since = now if self.doubtful_since is None else self.doubtful_since
        lost = now - since >= GRACE or now >= self.deadline
        return replace(self, doubtful_since=since, outcome=Outcome.LOST if lost else None)

    def _is_delivery_expected(self, seen: Observation) -> bool:
        if not self.is_assumed or seen.webhook_status is None:
            return self.expects_delivery
        return seen.webhook_status != NO_WEBHOOK


def _verdict(seen: Observation, expects_delivery: bool) -> Outcome | None:
    """Return the outcome that one observation suggests, ``None`` if the wait continues.

    The caller accepts ``LOST`` only after ``GRACE`` seconds or at the deadline.
    """
    if seen.delivered:
        return Outcome.ENDED
    if seen.gone:
        return Outcome.LOST
    match seen.status:
        case AsyncStatus.FAILED | AsyncStatus.EXPIRED | AsyncStatus.CANCELED:
            return Outcome.FAILED
        case AsyncStatus.SUCCEEDED if not expects_delivery:
            return Outcome.ENDED
        case AsyncStatus.SUCCEEDED:
            return None if seen.webhook_status == "PENDING" else Outcome.LOST
        case AsyncStatus.WEBHOOK_FAILED:
            return Outcome.LOST if expects_delivery else Outcome.ENDED
    return None  # Queued, in progress, a status that this version does not know, or no status.


def poll_delay(polls: int, poll_interval: float, draw: float) -> float:
    """Return the seconds until the next status call: short at first, then longer, with jitter.

    :param polls: number of status calls so far.
    :param poll_interval: longest delay in seconds; jitter may add a quarter.
    :param draw: a random number from 0 to 1.
    """
    return min(poll_interval, 1.5 ** min(polls, 50)) * (0.75 + draw / 2)


def _status(value: Any) -> str | None:
    return (
        value if isinstance(value, str) and 0 < len(value) <= _MAX_STATUS_CHARACTERS and value.isprintable() else None
    )
