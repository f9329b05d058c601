"""Trigger that starts DAGs when results arrive for which no task waits."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_baseten import config
from airflow_provider_baseten.arguments import check_texts
from airflow_provider_baseten.blocking_calls import in_thread
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
# After this number of results in one look, their events are yielded before the next results are read.
_MAX_RESULTS = 320
# If a look takes longer than this number of seconds, a warning says that the store does not respond.
_WARN_AFTER = 60.0

log = logging.getLogger(__name__)


class BasetenResultTrigger(BaseEventTrigger):
    """Trigger of an ``AssetWatcher``: yield an event for each result that is delivered to ``…/webhooks/ID/events``.

    Requests with this webhook endpoint are those for which no task waits, for example because an application has sent
    them. The payload of an event is ``{"baseten_conn_id", "request_id", "status", "arrived"}``: ``status`` is
    ``SUCCEEDED``, ``FAILED`` or ``None``, and ``arrived`` is in seconds since the epoch. It never holds the output,
    which :meth:`~airflow_provider_baseten.hooks.baseten.BasetenHook.read_delivery` reads.

    Watchers with the same connection share one trigger, and each of them gets every event. An event is yielded at least
    once. It is repeated only if the triggerer ends within 20 seconds after the event, or loses its connection to the
    result store in that time. If the store or the connection can't be read, the trigger logs a warning and tries again.

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

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.{type(self).__name__}", {"baseten_conn_id": self.baseten_conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for results until Airflow ends the trigger, and yield an event for each."""
        interval = config.STORE_CHECK_INTERVAL.get()
        failures, warned = 0, ""
        while True:
            found: list[Arrival] = []
            try:
                found = await self._look()
                failures, warned = 0, ""
            except Exception as error:
                failures += 1
                problem = str(error) if isinstance(error, BasetenError) else type(error).__name__
                if problem != warned:  # A problem that lasts is logged once.
                    log.warning("Results for connection %s start no DAGs now: %s", self.baseten_conn_id, problem)
                    warned = problem
            for arrival in found:
                self._reported[arrival.request_id] = time.monotonic()
                yield self._event(arrival)
            if len(found) < _MAX_RESULTS:
                await asyncio.sleep(look_pause(failures, interval))

    async def _look(self) -> list[Arrival]:
        """Return the results that are new; delete the notes of those that were reported long enough ago."""
        connection = await afind_connection(self.baseten_conn_id)
        arrivals = Arrivals(ResultStore(connection.result_store), self.baseten_conn_id)
        reading = asyncio.create_task(in_thread(self._read, arrivals))
        while not (await asyncio.wait({reading}, timeout=_WARN_AFTER))[0]:
            log.warning("Results for connection %s: the result store does not respond", self.baseten_conn_id)
        return reading.result()

    def _read(self, arrivals: Arrivals) -> list[Arrival]:
        ids = arrivals.ids()
        self._reported = {name: at for name, at in self._reported.items() if name in set(ids)}
        settled = time.monotonic() - SETTLE_SECONDS
        for request_id in [name for name, at in self._reported.items() if at <= settled]:
            arrivals.remove(request_id)
        new, found = [name for name in ids if name not in self._reported], list[Arrival]()
        for start in range(0, len(new), _PART):
            found += arrivals.load(new[start : start + _PART])
            if len(found) >= _MAX_RESULTS:
                break
        return found

    def _event(self, arrival: Arrival) -> TriggerEvent:
        payload = {"baseten_conn_id": self.baseten_conn_id, **asdict(arrival)}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def look_pause(failures: int, interval: float) -> float:
    """Return the seconds until the next look.

    :param failures: number of looks that have failed in a row.
    :param interval: pause after a look without a failure, in seconds.
    """
    return interval if not failures else max(interval, min(_MAX_PAUSE_SECONDS, interval * 2.0 ** min(failures, 10)))
