"""Names that moved between the supported versions of Airflow and that the common compatibility provider lacks."""

import sys
from collections.abc import Callable
from typing import Any

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]

try:
    from airflow.sdk import RetryDecision, RetryPolicy

    KNOWS_RETRY_POLICY = True
except ImportError:  # Airflow below 3.3
    RetryDecision, RetryPolicy = None, object  # type: ignore[assignment, misc]
    KNOWS_RETRY_POLICY = False

__all__ = [
    "KNOWS_RETRY_POLICY",
    "RetryDecision",
    "RetryPolicy",
    "TaskDeferralTimeout",
    "secrets_backends",
    "xcoms_are_msgpack",
]


def secrets_backends() -> Callable[[], list[Any]] | None:
    """Return what lists the places where this process looks for connections, ``None`` if this Airflow has no such
    function. It is private to Airflow; last seen in 3.3.2.
    """
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:
        return None
    return ensure_secrets_backend_loaded


def xcoms_are_msgpack() -> bool:
    """Tell whether the XComs of this process go to a supervisor as msgpack, which has no integers beyond 64 bits.

    They do in a task that a worker runs, and neither in ``dag.test()`` nor where no task runs. Seen in Airflow 3.3.2.
    """
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(runner, "SUPERVISOR_COMMS", None)
    return channel is not None and type(channel).__name__ != "InProcessSupervisorComms"
