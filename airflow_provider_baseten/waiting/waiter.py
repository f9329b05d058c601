"""What one trigger waits for."""

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
    """The async requests that one trigger waits for, and what came of them.

    :param target: what was called.
    :param request_ids: ids of the requests; one that is given twice counts once.
    :param expects_delivery: whether outputs come by webhook into the result store.
    :param is_assumed: whether a status that names the state of the webhook overrules that.
    :param deadline: seconds since the epoch.
    :param poll_interval: longest wait between two status calls of one request, in seconds.
    :param log: of the trigger.
    :param began: when the wait began, in seconds since the epoch, by a trigger before this one perhaps.
    :raises BasetenInputError: an id can't be one.
    """

    #: When this trigger began to wait, on the clock of the poller.
    joined_at: float = 0.0
    #: Why nobody can wait any longer.
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
        #: Set when there is something to log, or when the wait has ended.
        self.stirred = asyncio.Event()
        wait = Wait(expects_delivery=expects_delivery, is_assumed=is_assumed, deadline=deadline)
        self.looks_into_store = wait.looks_into_store
        for request_id in request_ids:
            target.async_request_path(request_id)
            self.open[request_id] = WaitingRequest(request_id, self, wait)
        self.log = WaitLog(log, self.open.keys(), began=began)

    def note(self, request_id: str, seen: Observation) -> None:
        """Take what was seen of a request into the log of the wait."""
        if self.log.note(request_id, seen):
            self.stirred.set()

    def end(self, error: "BasetenError | None" = None) -> None:
        """End the wait.

        :param error: why, if it is not because every request has an outcome.
        """
        self.error = self.error or error
        self.ended.set()
        self.stirred.set()


@dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request that has no outcome yet.

    :param wait: how the wait for it stands.
    :param seen: what was last known of it.
    :param polls: how often Baseten was asked.
    """

    request_id: str
    waiter: Waiter
    wait: Wait
    seen: Observation = _NOTHING
    polls: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for it."""
        return self.waiter.open.get(self.request_id) is self
