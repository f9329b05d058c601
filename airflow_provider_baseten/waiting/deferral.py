"""Deferral of tasks: the time limit of a deferral, and checks of the event that ends it."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_baseten.api.error_record import error_from
from airflow_provider_baseten.arguments import MAX_TIMEOUT_SECONDS

# A trigger ends by itself at its deadline. If it does not, Airflow ends the deferral this number of seconds later.
_MARGIN = 300.0


def timeout_after(deadline: float) -> timedelta:
    """Return the time limit of a deferral: the time until the deadline of its trigger, plus five minutes.

    A trigger normally ends at its deadline. If it does not, Airflow ends the deferral at the time limit.

    :param deadline: deadline of the trigger in seconds since the epoch.
    """
    return timedelta(seconds=max(0.0, deadline - time.time()) + _MARGIN)


def deferral_timeout(limit: timedelta | None) -> timedelta | None:
    """Return the duration after which Airflow ends a deferral, ``None`` for no limit.

    The duration is ``limit``, but at most ten years, so that the end of the deferral is a valid ``datetime``.

    :param limit: the task's ``execution_timeout``; ``None`` for no limit.
    """
    return None if limit is None else min(limit, timedelta(seconds=MAX_TIMEOUT_SECONDS))


def is_of_former_trigger(expected: object, found: object, log: Any) -> bool:
    """Return whether an event belongs to a trigger of an earlier attempt.

    SQLite reuses the ids of deleted triggers. So a task can receive an event from the trigger of an earlier attempt.

    :param expected: id, ids or name of what the task waits for.
    :param found: id, ids or name in the event.
    :param log: log of the task.
    """
    if expected == found:
        return False
    log.info("The trigger of an earlier attempt has ended; still waiting for this one's.")
    return True


def raise_error_of(event: Mapping[str, Any]) -> None:
    """Raise the error in an event; do nothing if there is none.

    There is an error only if the trigger could not wait, for example because it could not read the connection.

    :param event: event of the trigger.
    """
    if event.get("error") is not None:
        raise error_from(event["error"])
