"""The event that resumes a deferred task, and whether it is that of its own trigger."""

from typing import Any


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
