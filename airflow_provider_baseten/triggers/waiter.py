"""What one trigger waits for."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_baseten.api.async_requests import Observation, Outcome, Wait
from airflow_provider_baseten.api.target import Target

_NOTHING = Observation()


class Waiter:
    """The async requests that one trigger waits for, and what came of them.

    :param target: what was called.
    :param request_ids: ids of the requests; one that is given twice counts once.
    :param expects_delivery: whether outputs come by webhook into the result store.
    :param is_assumed: whether a status that names the state of the webhook overrules that.
    :param deadline: seconds since the epoch.
    :param poll_interval: longest wait between two status calls of one request, in seconds.
    :raises BasetenInputError: an id can't be one.
    """

    def __init__(
        self,
        target: Target,
        request_ids: Iterable[str],
        *,
        expects_delivery: bool,
        is_assumed: bool = False,
        deadline: float,
        poll_interval: float,
    ) -> None:
        self.target = target
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.outcomes: dict[str, Outcome] = {}
        self.open: dict[str, WaitingRequest] = {}
        self.ended = asyncio.Event()
        wait = Wait(expects_delivery=expects_delivery, is_assumed=is_assumed, deadline=deadline)
        self.looks_into_store = wait.looks_into_store
        for request_id in request_ids:
            target.async_request_url(request_id)
            self.open[request_id] = WaitingRequest(request_id, self, wait)


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
