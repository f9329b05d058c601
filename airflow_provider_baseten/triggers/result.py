"""Trigger that starts DAGs when results arrive for which no task waits."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, TypeVar

from airflow_provider_baseten import config
from airflow_provider_baseten.arguments import check_texts
from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import BaseEventTrigger, TriggerEvent
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.lookup import afind_connection
from airflow_provider_baseten.storage.arrivals import Arrival, Arrivals
from airflow_provider_baseten.storage.result_store import ResultStore

# Seconds from an event to the deletion of its note. Airflow does not report when it has written an event to its
# database, which takes a second or two. A triggerer that dies earlier has lost the event, and the note repeats it.
SETTLE_SECONDS = 20.0
# Longest pause after looks that failed, in seconds.
_MAX_PAUSE_SECONDS = 60.0
# Number of notes that are read at once. More results would be looked up by a listing of the whole store.
_PART = 32
# Largest number of results in an event.
_MAX_RESULTS = 500
# Seconds between two events. Airflow hands an event that comes before it has created the run for the event before only
# to the run after next. Its scheduler looks for events about each second.
SPACING_SECONDS = 10.0
# If a look takes longer than this number of seconds, a warning says that the store does not respond.
_WARN_AFTER = 60.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class BasetenResultTrigger(BaseEventTrigger):
    """Trigger of an ``AssetWatcher``, for results that are delivered to ``/baseten/webhooks/CONN_ID/events``.

    Requests with this webhook endpoint are those for which no task waits, for example because an application has sent
    them. The payload of an event is ``{"baseten_conn_id", "results": [{"request_id", "status", "arrived"}]}``, with the
    oldest result first. ``status`` is ``SUCCEEDED``, ``FAILED`` or ``None``, and ``arrived`` is in seconds since the
    epoch. An event never holds an output. :meth:`BasetenHook.read_delivery()
    <airflow_provider_baseten.hooks.baseten.BasetenHook.read_delivery>` reads it.

    A result has its event within seconds. After an event, the results of the next ten seconds share one event.
    Watchers with the same connection share one trigger, and each of them gets every event.

    Every result is in at least one event. It is in two if the triggerer ends within 20 seconds after the first, or if
    the result store hangs for that long while it stores a copy of the delivery. If the result store or the connection
    can't be read, the trigger logs a warning and tries again.

    :param baseten_conn_id: id of the Airflow connection that the results are delivered for, by default
        ``baseten_default``.
    :raises BasetenInputError: ``baseten_conn_id`` is not a text.
    """

    def __init__(self, *, baseten_conn_id: str = DEFAULT_CONN_ID) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        check_texts(baseten_conn_id=baseten_conn_id)
        self.baseten_conn_id = baseten_conn_id
        # For each reported request, the monotonic time of its event.
        self._reported: dict[str, float] = {}
        # The problem that was logged last.
        self._problem = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.{type(self).__name__}", {"baseten_conn_id": self.baseten_conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for results until Airflow ends the trigger, and yield events for them."""
        interval = config.STORE_CHECK_INTERVAL.get()
        failures = 0
        while True:
            found: list[Arrival] = []
            try:
                arrivals = await self._arrivals()
                found = await self._finish(asyncio.create_task(in_thread(self._new, arrivals)))
                await self._finish(asyncio.create_task(in_thread(self._delete_settled, arrivals)))
                failures, self._problem = 0, ""
            except Exception as error:
                failures += 1
                self._warn(error)
            if found:
                self._reported |= dict.fromkeys((arrival.request_id for arrival in found), time.monotonic())
                results = [asdict(arrival) for arrival in found]
                payload = {"baseten_conn_id": self.baseten_conn_id, "results": results}
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
            await asyncio.sleep(max(look_pause(failures, interval), SPACING_SECONDS if found else 0))

    async def _arrivals(self) -> Arrivals:
        connection = await afind_connection(self.baseten_conn_id)
        return Arrivals(ResultStore(connection.result_store), self.baseten_conn_id)

    def _new(self, arrivals: Arrivals) -> list[Arrival]:
        """Return the oldest results that were not reported yet, and forget those whose notes are gone. Blocks."""
        ids = dict.fromkeys(arrivals.ids())
        self._reported = {name: at for name, at in self._reported.items() if name in ids}
        new, found = [name for name in ids if name not in self._reported], list[Arrival]()
        for start in range(0, len(new), _PART):
            found += arrivals.load(new[start : start + _PART])
            if len(found) >= _MAX_RESULTS:
                break
        return sorted(found[:_MAX_RESULTS], key=lambda arrival: arrival.arrived)

    def _delete_settled(self, arrivals: Arrivals) -> None:
        """Delete the notes of results that were reported long enough ago. Blocks."""
        settled = time.monotonic() - SETTLE_SECONDS
        for request_id in [name for name, at in self._reported.items() if at <= settled]:
            arrivals.remove(request_id)

    async def _finish(self, reading: "asyncio.Task[T]") -> T:
        """Wait for a thread that reads or writes the store. If it takes long, log a warning."""
        while not (await asyncio.wait({reading}, timeout=_WARN_AFTER))[0]:
            log.warning("Results for connection %s: the result store does not respond", self.baseten_conn_id)
        return reading.result()

    def _warn(self, error: Exception) -> None:
        """Log an error. One that lasts is logged once."""
        problem = str(error) if isinstance(error, BasetenError) else type(error).__name__
        if problem != self._problem:
            log.warning("Results for connection %s start DAGs late or twice: %s", self.baseten_conn_id, problem)
            self._problem = problem


def look_pause(failures: int, interval: float) -> float:
    """Return the seconds until the next look.

    :param failures: number of looks that have failed in a row.
    :param interval: pause after a look without a failure, in seconds.
    """
    return interval if not failures else max(interval, min(_MAX_PAUSE_SECONDS, interval * 2.0 ** min(failures, 10)))
