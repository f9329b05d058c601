"""Queue of the records that the triggers of an event loop keep for the pages in Airflow's UI."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from airflow_provider_baseten.activity.records import Record, keep_record
from airflow_provider_baseten.blocking_calls import in_thread

log = logging.getLogger(__name__)

# Pause between two records, in seconds. Each record is a call of Airflow's API, which all triggers of a process share.
_PAUSE = 0.05


class RecordQueue:
    """Records that are kept one after the other, so that thousands of triggers do not delay each other.

    If the record of a task instance changes before its turn, only the new one is kept. An error is logged and does
    not end a trigger.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[Any, ...], tuple[Any, Callable[[], Record]]] = {}
        self._writer: asyncio.Task[None] | None = None

    def put(self, task_instance: Any, make_record: Callable[[], Record]) -> None:
        """Keep the record of a task instance soon. This method does not wait.

        :param make_record: function that returns the record; it is called when the turn of the record comes.
        """
        self._waiting[_key_of(task_instance)] = task_instance, make_record
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    def drop(self, task_instance: Any) -> None:
        """Do not keep the record of a task instance any more, because its wait has ended."""
        self._waiting.pop(_key_of(task_instance), None)

    async def _write(self) -> None:
        while self._waiting:
            task_instance, make_record = self._waiting.pop(next(iter(self._waiting)))
            try:
                await in_thread(keep_record, task_instance, make_record())
            except Exception as error:
                log.debug("A record for Baseten's pages was not kept.", exc_info=error)
            await asyncio.sleep(_PAUSE)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, RecordQueue] = WeakKeyDictionary()


def record_queue() -> RecordQueue:
    """Return the queue of the running event loop."""
    return _queues.setdefault(asyncio.get_running_loop(), RecordQueue())


def _key_of(task_instance: Any) -> tuple[Any, ...]:
    return task_instance.dag_id, task_instance.run_id, task_instance.task_id, task_instance.map_index
