"""Trigger that waits for what the management API reports: a deployment, a promotion, settings or a training job."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow_provider_baseten.api.error_record import error_fields
from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.compat import BaseTrigger, TriggerEvent
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenError
from airflow_provider_baseten.hooks.shared_clients import SharedClient, shared_client
from airflow_provider_baseten.triggers.kills import in_own_task, is_ended_by_user
from airflow_provider_baseten.waiting.log import error_words
from airflow_provider_baseten.waiting.management.kinds import watch_from
from airflow_provider_baseten.waiting.management.steps import run_steps_async
from airflow_provider_baseten.waiting.management.wait import WaitLimits, wait_for
from airflow_provider_baseten.waiting.management.watch import State, Watch

log = logging.getLogger(__name__)

# Seconds to wait for the response to one call.
_CALL_TIMEOUT = 60.0
# Longest duration of `on_kill`, in seconds. It is shorter than the time that Airflow allows by default.
_KILL_TIMEOUT = 20.0


class BasetenManagementTrigger(BaseTrigger):
    """Wait until a deployment, a promotion, autoscaling settings or a training job has the wanted state.

    The trigger only reads, which costs nothing, so any triggerer may run it again at any time. After that, a training
    job's lines of the last ten minutes are logged again.

    The trigger yields one event: ``{"name", "text", "is_done", "result", "error", "seconds"}``. ``name`` is what was
    waited for and ``text`` its last state; ``is_done`` is false if the deadline has passed; ``error`` is there if the
    wait has failed.

    :param baseten_conn_id: id of the Airflow connection.
    :param watch: what is waited for, as :meth:`~airflow_provider_baseten.waiting.management.watch.Watch.as_fields`
        returns it. It holds ids and settings, no input of a model and no key.
    :param facts: facts that are known before the wait; ``result`` of the event holds them too.
    :param deadline: end of the wait in seconds since the epoch.
    :param poll_interval: longest time between two looks, in seconds.
    """

    def __init__(
        self,
        *,
        baseten_conn_id: str,
        watch: Mapping[str, Any],
        facts: Mapping[str, Any],
        deadline: float,
        poll_interval: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.baseten_conn_id = baseten_conn_id
        self.watch = dict(watch)
        self.facts = dict(facts)
        self.deadline = deadline
        self.poll_interval = poll_interval
        self._has_ended = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        arguments = {
            "baseten_conn_id": self.baseten_conn_id,
            "watch": self.watch,
            "facts": self.facts,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
        }
        return f"{__name__}.{type(self).__name__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        watch = watch_from(self.watch)
        state = await in_own_task(self._wait(watch))
        self._has_ended = True
        yield TriggerEvent(event_of(watch, state, self.facts))  # type: ignore[no-untyped-call]

    async def _wait(self, watch: Watch) -> State:
        limits = WaitLimits(deadline=self.deadline, poll_interval=self.poll_interval)
        async with shared_client(self.baseten_conn_id, timeout=_CALL_TIMEOUT) as shared:
            try:
                return await run_steps_async(wait_for(watch, limits, log), lambda call: _send(shared, call))
            except BasetenError as error:
                return State(text="unknown", error=error)

    async def on_kill(self) -> None:
        """End the work that is waited for, if that is wanted and a user has ended the task."""
        calls = watch_from(self.watch).stop_calls()
        if not calls or self._has_ended or not await is_ended_by_user(self):
            return
        async with asyncio.timeout(_KILL_TIMEOUT), shared_client(self.baseten_conn_id, timeout=_CALL_TIMEOUT) as shared:
            for call in calls:
                try:
                    await _send(shared, call)
                    log.info("%s was done, because the task was killed.", call.request.subject)
                except BasetenError as error:
                    log.warning("%s failed: %s", call.request.subject, error_words(error))


async def _send(shared: SharedClient, call: Call[Any]) -> Any:
    """Send a call, and return its result. If the key is refused, read the connection again and send it once more."""
    client = await shared.client()
    try:
        return await client.management.call(call)
    except BasetenAuthError:
        shared.renew(client)
        return await (await shared.client()).management.call(call)


def event_of(watch: Watch, state: State, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event for the end of a wait.

    :param facts: facts that were known before the wait.
    """
    return {
        "name": watch.name,
        "text": state.text,
        "is_done": state.is_done,
        "result": {**facts, **state.result},
        "error": None if state.error is None else error_fields(state.error),
        "seconds": round(time.time() - watch.began, 1),
    }
