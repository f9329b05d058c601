"""Deferral of a task: how long Airflow waits for its trigger, and whether an event is that of its own one."""

from datetime import timedelta
from typing import Any

from airflow_provider_baseten.arguments import MOST_SECONDS


def deferral_timeout(limit: timedelta | None) -> timedelta | None:
    """Return the time after which Airflow ends a deferral, no longer than Airflow can add to the present.

    :param limit: what the author of the DAG has set; ``None`` is no limit.
    """
    return None if limit is None else min(limit, timedelta(seconds=MOST_SECONDS))


def is_of_former_trigger(expected: object, found: object, log: Any) -> bool:
    """Tell whether an event belongs to a trigger of an earlier attempt.

    SQLite gives the number of a trigger that was deleted to the next one, and with it the event of the first.

    :param expected: what the task waits for; ``None`` where Airflow does not say, as in ``dag.test()``.
    :param found: what the event is about.
    :param log: of the task.
    """
    if expected is None or expected == found:
        return False
    log.info("The trigger of an earlier attempt has ended; still waiting for this one's.")
    return True
