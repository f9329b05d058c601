"""Waiters: the async requests that one trigger waits for."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.waiting.log import Log, WaitLog
from airflow_provider_baseten.waiting.state import Observation, Outcome, Wait

if TYPE_CHECKING:
    from airflow_provider_baseten.exceptions import BasetenError

_NOTHING = Observation()


class Waiter:
    """The async requests that one trigger waits for, and their outcomes.

    :param target: what was called.
    :param request_ids: ids of the requests; repeated ids count once.
    :param expects_delivery: whether outputs come by webhook into the result store.
    :param is_assumed: whether ``expects_delivery`` is a guess, which a known webhook status overrides.
    :param deadline: seconds since the epoch.
    :param poll_interval: longest wait between two status calls of one request, in seconds.
    :param log: of the trigger.
    :param began: start of the wait in seconds since the epoch; an earlier trigger may have started it.
    :raises BasetenInputError: an id can't be one.
    """

    #: Start of the wait in this trigger, on the monotonic clock.
    joined_at: float = 0.0
    #: Reason why the wait can't continue.
    error: "BasetenError | None" = None

    def __init__(
        self,
        target: Target,
        request_ids: Iterable[str],
        *,
        expects_delivery: bool,
        is_assumed: bool = False,
        deadline: float,
        poll_interval: float,
        log: Log,
        began: float,
    ) -> None:
        self.target = target
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.outcomes: dict[str, Outcome] = {}
        self.open: dict[str, WaitingRequest] = {}
        self.ended = asyncio.Event()
        #: Set when a status has changed or the wait has ended.
        self.changed = asyncio.Event()
        wait = Wait(expects_delivery=expects_delivery, is_assumed=is_assumed, deadline=deadline)
        self.may_be_delivered = wait.may_be_delivered
        for request_id in request_ids:
            target.async_request_path(request_id)
            self.open[request_id] = WaitingRequest(request_id, self, wait)
        self.log = WaitLog(log, self.open.keys(), began=began)

    def note(self, request_id: str, seen: Observation) -> None:
        """Pass an observation to the log of the wait."""
        if self.log.note(request_id, seen):
            self.changed.set()

    def end(self, error: "BasetenError | None" = None) -> None:
        """End the wait.

        :param error: the reason, if some requests have no outcome.
        """
        self.error = self.error or error
        self.ended.set()
        self.changed.set()


@dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request that has no outcome yet.

    :param wait: state of the wait.
    :param seen: the last observation.
    :param polls: number of status calls so far.
    """

    request_id: str
    waiter: Waiter
    wait: Wait
    seen: Observation = _NOTHING
    polls: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a trigger still waits for it."""
        return self.waiter.open.get(self.request_id) is self
