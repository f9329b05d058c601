"""State of the wait for one async request: decides from what is observed, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from airflow_provider_baseten.api.async_predict import AsyncStatus

# Statuses that a result may still follow although they promise none, and how long it is given, in seconds: a store that
# shows a file late, a second delivery, a status that is not yet known everywhere.
GRACE = 60.0


# What a status says of the webhook of a request that was sent without one.
NO_WEBHOOK = "NO_WEBHOOK_PROVIDED"


_LONGEST_STATUS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of an async request at one moment.

    :param delivered: whether its result is in the result store.
    :param status: its status; ``None`` if nobody could be asked.
    :param webhook_status: status of the delivery.
    :param gone: whether Baseten no longer (or not yet) knows the id.
    :param store_read: whether the result store could be looked into, where a delivery is expected.
    """

    delivered: bool = False
    status: str | None = None
    webhook_status: str | None = None
    gone: bool = False
    store_read: bool = True

    @classmethod
    def of_status(cls, output: Any) -> Self:
        """Read the answer of :func:`get_status`. What is no status says nothing: the wait goes on."""
        fields = output if isinstance(output, Mapping) else {}
        return cls(status=_status(fields.get("status")), webhook_status=_status(fields.get("webhook_status")))


class Outcome(StrEnum):
    """How waiting for an async request ended.

    ``ended``: there is a result to read, which may be an error of the model. ``failed``: it ended without a result.
    ``lost``: whether there is a result is unknown. ``timeout``: it had not ended at the deadline.
    """

    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    TIMEOUT = "timeout"

    @classmethod
    def _missing_(cls, value: object) -> "Outcome | None":
        return cls.ENDED if value == "succeeded" else None  # The word of triggers that an older version started.


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The wait for one async request: decides from what is observed, and does nothing itself.

    Blocking, deferred and sensing waits all go through :meth:`after`, so that they end alike.

    :param expects_delivery: whether the output comes by webhook; otherwise the status alone decides.
    :param is_assumed: whether that is an assumption, which a status that names the state of the webhook overrules.
    :param deadline: seconds since the epoch.
    :param doubtful_since: since when the request has been in a state that a result may still follow, while the result
        store could be looked into.
    :param outcome: how the wait ended; ``None`` while it goes on.
    """

    expects_delivery: bool
    deadline: float
    is_assumed: bool = False
    doubtful_since: float | None = None
    outcome: Outcome | None = None

    @property
    def looks_into_store(self) -> bool:
        """Whether the result may come to the result store."""
        return self.expects_delivery or self.is_assumed

    def after(self, seen: Observation, now: float) -> "Wait":
        """Return the wait as it stands after an observation.

        :param now: seconds since the epoch.
        """
        verdict = _verdict(seen, self._is_delivery_expected(seen))
        if verdict is not Outcome.LOST:
            ended = verdict or (Outcome.TIMEOUT if now >= self.deadline else None)
            still = self.doubtful_since if seen.status is None and not seen.gone else None
            return replace(self, doubtful_since=still, outcome=ended)
        if not seen.store_read:  # The result may be there, or wait in the receiver's spool for the store to work again.
            return replace(self, doubtful_since=now, outcome=Outcome.TIMEOUT if now >= self.deadline else None)
        since = now if self.doubtful_since is None else self.doubtful_since
        lost = now - since >= GRACE or now >= self.deadline
        return replace(self, doubtful_since=since, outcome=Outcome.LOST if lost else None)

    def _is_delivery_expected(self, seen: Observation) -> bool:
        if not self.is_assumed or seen.webhook_status is None:
            return self.expects_delivery
        return seen.webhook_status != NO_WEBHOOK


def _verdict(seen: Observation, expects_delivery: bool) -> Outcome | None:
    """Say what one observation means by itself; ``LOST`` only counts when it lasts."""
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
    return None  # Queued, in progress, a status of the future, or nothing known.


def next_poll(polls: int, poll_interval: float, draw: float) -> float:
    """Return the seconds until the next status call: short at first, longer later, never in step with others.

    :param polls: how many there were.
    :param poll_interval: the longest wait in seconds.
    :param draw: a random number from 0 to 1.
    """
    return min(poll_interval, 1.5 ** min(polls, 50)) * (0.75 + draw / 2)


def _status(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_STATUS and value.isprintable() else None
