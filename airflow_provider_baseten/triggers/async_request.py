"""Trigger that waits for async requests."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from airflow_provider_baseten.activity.records import MAX_SHOWN_IDS, AsyncRequestRecord
from airflow_provider_baseten.api.error_record import error_fields
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import BaseTrigger, TriggerEvent, state_of_waiting_task
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.triggers.pollers import poller_of
from airflow_provider_baseten.triggers.record_queue import record_queue
from airflow_provider_baseten.waiting.log import WaitLog
from airflow_provider_baseten.waiting.progress import WaitProgress
from airflow_provider_baseten.waiting.state import Outcome
from airflow_provider_baseten.waiting.trigger_waiter import TriggerWaiter

log = logging.getLogger(__name__)

# Longest duration of `on_kill`, in seconds. It is shorter than the time that Airflow allows by default.
_KILL_TIMEOUT = 20.0


class BasetenAsyncRequestTrigger(BaseTrigger):
    """Wait for async requests that a task has sent.

    While it waits, the trigger sends only status calls, which cost nothing. So any triggerer may run the trigger again
    at any time. All triggers of this class in a process share one client and one rate limit for each connection.

    The trigger yields one event, ``{"outcomes": {request_id: outcome}, "seconds"}``. An outcome is ``ended``,
    ``failed``, ``lost`` or ``timeout``, and ``seconds`` is the duration of the wait. If a request was seen to run, the
    event also has ``running_at``. If the connection could never be read, each outcome is ``lost``, and the event also
    has an ``error``.

    :param baseten_conn_id: id of the Airflow connection.
    :param target: the model or chain that was called, as keyword arguments of
        :class:`~airflow_provider_baseten.api.target.Target`.
    :param request_ids: ids of the requests.
    :param expects_delivery: whether outputs come by webhook into the result store.
    :param is_assumed: whether ``expects_delivery`` is a guess; by default false. A webhook status that Baseten reports
        overrides the guess.
    :param began: start of the wait in seconds since the epoch; by default now.
    :param deadline: end of the wait in seconds since the epoch.
    :param poll_interval: longest wait between two status calls of one request, in seconds.
    :param page: URL of the page of the model or chain, by default none; Baseten's pages in Airflow's UI show it.
    :param cancel_on_kill: whether the requests that are still queued are cancelled when a user marks the task as
        success or failed, or clears it; by default true. Only Airflow 3.3 and newer tells triggers about this.
    """

    def __init__(
        self,
        *,
        baseten_conn_id: str,
        target: dict[str, Any],
        request_ids: Sequence[str],
        expects_delivery: bool,
        deadline: float,
        poll_interval: float,
        cancel_on_kill: bool = True,
        is_assumed: bool = False,
        began: float | None = None,
        page: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.baseten_conn_id = baseten_conn_id
        self.target = target
        self.request_ids = list(request_ids)
        self.expects_delivery = expects_delivery
        self.is_assumed = is_assumed
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.began = time.time() if began is None else began
        self.page = page
        self._outcomes: dict[str, Any] = {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "baseten_conn_id": self.baseten_conn_id,
                "target": self.target,
                "request_ids": self.request_ids,
                "expects_delivery": self.expects_delivery,
                "is_assumed": self.is_assumed,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "began": self.began,
                "page": self.page,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event.

        :raises BasetenInputError: the target or an id is not valid.
        """
        waiter = TriggerWaiter(
            Target(**self.target),
            self.request_ids,
            expects_delivery=self.expects_delivery,
            is_assumed=self.is_assumed,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            log=log,
            progress=WaitProgress(began=self.began),
        )
        self._outcomes = waiter.outcomes
        waiter.on_change = partial(self._report, waiter.log)
        event: dict[str, Any] = {}
        try:
            await poller_of(self.baseten_conn_id).wait(waiter)
        except BasetenError as error:
            waiter.outcomes.update(dict.fromkeys(self.request_ids, Outcome.LOST))
            event["error"] = error_fields(error)
        event["outcomes"] = {name: outcome.value for name, outcome in waiter.outcomes.items()}
        event["seconds"] = round(time.time() - self.began, 1)
        if waiter.log.running_at is not None:
            event["running_at"] = round(waiter.log.running_at, 1)
        if self.task_instance is not None:
            record_queue().drop(self.task_instance)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    def _report(self, wait_log: WaitLog) -> None:
        """Let the pages in Airflow's UI show the statuses soon."""

        def record() -> AsyncRequestRecord:
            return AsyncRequestRecord(
                target=str(Target(**self.target)),
                page=self.page,
                request_ids=self.request_ids[:MAX_SHOWN_IDS],
                requests=len(self.request_ids),
                statuses=wait_log.statuses,
                sent_at=self.began,
                running_at=wait_log.running_at,
                updated_at=time.time(),
                deadline=None if math.isinf(self.deadline) else self.deadline,
            )

        if self.task_instance is not None:
            record_queue().put(self.task_instance, record)

    async def on_kill(self) -> None:
        """Cancel the requests that are still queued, if a user has ended the task."""
        unsettled = [name for name in self.request_ids if name not in self._outcomes]
        # After the deadline nothing is cancelled, because another triggerer may already have resumed the task.
        if self.cancel_on_kill and unsettled and time.time() < self.deadline and await self._is_ended_by_user():
            async with asyncio.timeout(_KILL_TIMEOUT):
                await poller_of(self.baseten_conn_id).cancel(Target(**self.target), unsettled)

    async def _is_ended_by_user(self) -> bool:
        """Return whether a user has ended the task.

        If not, Airflow has killed the trigger because another triggerer takes it over. A task instance that Airflow no
        longer knows counts as ended, because it was deleted with its run.
        """
        try:
            state = await in_thread(state_of_waiting_task, self)
        except LookupError:
            return False
        except Exception:
            self.log.warning("Nothing is cancelled, because the state of the task could not be read.", exc_info=True)
            return False
        if state == "deferred":
            log.info("Nothing is cancelled, because the task still waits: another triggerer takes the trigger over.")
        return state != "deferred"
