"""Kills of triggers: how a trigger learns of one, and whether a user ended the task or another triggerer takes over."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import state_of_waiting_task

log = logging.getLogger(__name__)

T = TypeVar("T")


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine in a task of its own, so that the message of a cancellation is kept.

    By this message Airflow tells the act of a user, after which it calls ``on_kill``, from the end of the triggerer. A
    request in flight would replace it: pyreqwest raises an error of its own with another message.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    return task.result()


async def is_ended_by_user(trigger: Any) -> bool:
    """Return whether a user has ended the task of a trigger.

    If not, Airflow has killed the trigger because another triggerer takes it over. A task instance that Airflow no
    longer knows counts as ended, because it was deleted with its run.
    """
    try:
        state = await in_thread(state_of_waiting_task, trigger)
    except LookupError:
        return False
    except Exception:
        trigger.log.warning("Nothing is cancelled, because the state of the task could not be read.", exc_info=True)
        return False
    if state == "deferred":
        log.info("Nothing is cancelled, because the task still waits: another triggerer takes the trigger over.")
    return state != "deferred"
