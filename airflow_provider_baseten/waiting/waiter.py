"""Waiter: the async requests that one task waits for, with their states and outcomes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.waiting.log import Log, WaitLog
from airflow_provider_baseten.waiting.progress import WaitProgress
from airflow_provider_baseten.waiting.state import GRACE, Observation, Outcome, Wait, poll_delay


def _do_nothing() -> None:
    """Ignore a change."""


_NOTHING = Observation()
_SUCCEEDED = Observation(status=AsyncStatus.SUCCEEDED)


class Waiter:
    """The async requests that one task waits for. This class does no I/O.

    A poller observes the requests: on a worker
    :class:`~airflow_provider_baseten.waiting.blocking_poller.BlockingPoller`, in a triggerer
    :class:`~airflow_provider_baseten.waiting.poller.Poller`. Both pass each observation to
    :meth:`WaitingRequest.take` and settle the request with the outcome. So a wait on a worker and a wait in a triggerer
    end by the same rules.

    :param target: the model or chain that was called.
    :param request_ids: ids of the requests; repeated ids count once.
    :param expects_delivery: whether outputs come by webhook into the result store.
    :param is_assumed: whether ``expects_delivery`` is a guess. If a status call returns a webhook status, this status
        overrides the guess.
    :param deadline: end of the wait in seconds since the epoch.
    :param poll_interval: longest wait between two status calls of one request, in seconds. Jitter may add 25 %.
    :param log: log of the task or the trigger.
    :param progress: progress of an earlier process that waited for the same requests. If only the start of the wait
        is known, pass ``WaitProgress(began=...)``. By default the wait begins now.
    :raises BasetenInputError: an id is not valid.
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
        log: Log,
        progress: WaitProgress | None = None,
    ) -> None:
        progress = progress or WaitProgress()
        self.target = target
        self.deadline = deadline
        self.poll_interval = poll_interval
        wait = Wait(expects_delivery=expects_delivery, is_assumed=is_assumed, deadline=deadline)
        self.may_be_delivered = wait.may_be_delivered
        self.request_ids = list(dict.fromkeys(request_ids))
        began = time.time() if progress.began is None else progress.began
        self.log = WaitLog(log, self.request_ids, began=began, logged=progress.logged)
        #: Function that is called when a status has changed.
        self.on_change: Callable[[], object] = _do_nothing
        #: Outcomes of the requests whose wait has ended, by id.
        self.outcomes: dict[str, Outcome] = {}
        #: Ids of the requests whose result is in the result store.
        self.delivered: set[str] = set()
        #: Requests that have no outcome yet, by id.
        self.open: dict[str, WaitingRequest] = {}
        for request_id in self.request_ids:
            target.async_request_path(request_id)
            if request_id in progress.succeeded:
                self.outcomes[request_id] = Outcome.ENDED
                self.note(request_id, _SUCCEEDED)
            else:
                since = progress.doubtful_since.get(request_id)
                self.open[request_id] = WaitingRequest(request_id, self, replace(wait, doubtful_since=since))

    @property
    def progress(self) -> WaitProgress:
        """Progress for the process that continues the wait.

        The field ``succeeded`` leaves out the requests whose result is in the result store. Such a result may be
        deleted before the next process starts. Therefore the next process looks for it again.
        """
        doubts = {name: request.wait.doubtful_since for name, request in self.open.items()}
        ended = {name for name, outcome in self.outcomes.items() if outcome is Outcome.ENDED}
        return WaitProgress(
            doubtful_since={name: since for name, since in doubts.items() if since is not None},
            succeeded=frozenset(ended - self.delivered),
            began=self.log.began,
            logged=self.log.logged(),
        )

    def note(self, request_id: str, seen: Observation) -> bool:
        """Pass an observation to the log; return whether the status of the request has changed."""
        return self.log.note(request_id, seen)

    def settle(self, request_id: str, outcome: Outcome) -> None:
        """End the wait for one request."""
        self.outcomes[request_id] = outcome
        del self.open[request_id]

    def settle_late(self, now: float) -> None:
        """End the wait for all open requests, because the deadline has passed.

        :param now: seconds since the epoch.
        """
        for name, request in [*self.open.items()]:
            late = request.wait.after(request.seen, max(now, self.deadline))
            self.settle(name, late.outcome or Outcome.TIMEOUT)


@dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request that has no outcome yet.

    :param wait: state of the wait.
    :param seen: the last observation that showed something: a status, a delivered result, or an id that Baseten does
        not know.
    :param polls: number of status calls so far.
    :param due_at: time of the next status call in seconds since the epoch. Only the poller on a worker uses it. The
        poller in a triggerer keeps these times in a schedule of its own.
    """

    request_id: str
    waiter: Waiter
    wait: Wait
    seen: Observation = _NOTHING
    polls: int = 0
    due_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the task still waits for this request."""
        return self.waiter.open.get(self.request_id) is self

    def delay(self, draw: float, least: float = 0.0) -> float:
        """Return the seconds until the next status call.

        :param draw: a random number from 0 to 1.
        :param least: shortest delay in seconds. A value above the longest delay is lowered to the longest delay.
        """
        longest = self.waiter.poll_interval
        if self.wait.doubtful_since is not None:
            longest = min(longest, GRACE)
        return max(poll_delay(self.polls, longest, draw), min(longest, least))

    def take(self, seen: Observation, now: float) -> Outcome | None:
        """Process an observation. Return the outcome if this observation ends the wait, otherwise ``None``.

        :param now: seconds since the epoch.
        """
        if seen.delivered or seen.gone or seen.status is not None:
            self.seen = seen
            self.waiter.note(self.request_id, seen)
        if seen.delivered:
            self.waiter.delivered.add(self.request_id)
        wait = self.wait.after(seen, now)
        if wait.outcome is None:
            self.wait = wait
        return wait.outcome
