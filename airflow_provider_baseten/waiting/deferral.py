"""Deferrals: their time limit, and the events that belong to them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_baseten.api.error_record import error_from
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


def raise_error_of(event: Mapping[str, Any]) -> None:
    """Raise the error of a trigger that could not wait.

    :param event: of the trigger.
    """
    if event.get("error") is not None:
        raise error_from(event["error"])
