"""Deferral of a task: how long Airflow waits for its trigger, whether an event is that of its own one, and the errors
that a trigger hands to its task.
"""

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.arguments import MOST_SECONDS
from airflow_provider_baseten.exceptions import BasetenError


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


def error_fields(error: BasetenError) -> dict[str, Any]:
    """Return an error as a JSON object."""
    fields = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    return {"type": type(error).__name__, "message": str(error), "fields": fields}


def error_from(record: Mapping[str, Any]) -> BasetenError:
    """Make an error again of :func:`error_fields`, also one of a newer version of this package."""
    kind = getattr(exceptions, str(record.get("type")), BasetenError)
    known = inspect.signature(BasetenError).parameters
    fields = dict(record.get("fields") or {})
    values = {name: value for name, value in fields.items() if name in known and name != "message"}
    error: BasetenError = kind(str(record.get("message")), **values)
    return error


def raise_error_of(event: Mapping[str, Any]) -> None:
    """Raise the error of a trigger that could not wait.

    :param event: of the trigger.
    """
    if event.get("error") is not None:
        raise error_from(event["error"])
