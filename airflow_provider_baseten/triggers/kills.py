"""Kills of triggers: whether a user has ended the task, or another triggerer takes the trigger over."""

import asyncio
import logging
from typing import Any

from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import state_of_waiting_task

log = logging.getLogger(__name__)

# The state of the task is read this often, with a pause in seconds, because a new state may be visible a little later.
_STATE_LOOKS = 3
_STATE_PAUSE = 1.0


async def is_ended_by_user(trigger: Any) -> bool:
    """Return whether a user has ended the task of a trigger.

    If not, Airflow has killed the trigger because another triggerer takes it over. A task instance that Airflow no
    longer knows counts as ended, because it was deleted with its run.
    """
    try:
        for _ in range(_STATE_LOOKS):
            if await in_thread(state_of_waiting_task, trigger) != "deferred":
                return True
            await asyncio.sleep(_STATE_PAUSE)
    except LookupError:
        return False
    except Exception:
        trigger.log.warning("Nothing is cancelled, because the state of the task could not be read.", exc_info=True)
        return False
    log.info("Nothing is cancelled, because the task still waits: another triggerer takes the trigger over.")
    return False
