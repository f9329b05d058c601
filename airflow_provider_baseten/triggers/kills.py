"""Kills of triggers: whether a user has ended the task, or another triggerer takes the trigger over."""

import logging
from typing import Any

from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import state_of_waiting_task

log = logging.getLogger(__name__)


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
