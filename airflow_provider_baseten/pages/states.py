"""States of tasks in words, and their tones, which are the colours of the stylesheet."""

from airflow_provider_baseten.activity.records import Record
from airflow_provider_baseten.pages.rows import TaskRow

_WORDS = {
    "running": ("running", "active"),
    "restarting": ("is being cleared", "active"),
    "deferred": ("waiting", "active"),
    "up_for_reschedule": ("waiting", "active"),
    "success": ("finished", "good"),
    "failed": ("failed", "bad"),
    "up_for_retry": ("failed, a retry follows", "bad"),
    "upstream_failed": ("failed", "bad"),
    "skipped": ("skipped", "quiet"),
    "removed": ("removed", "quiet"),
}
_AGAIN = ("runs again soon", "quiet")


def state_words(row: TaskRow[Record | None]) -> str:
    """Return the state of a task in words."""
    return _WORDS.get(row.state or "", _AGAIN)[0]


def tone(row: TaskRow[Record | None]) -> str:
    """Return the tone of a task's state: ``active``, ``good``, ``bad`` or ``quiet``."""
    return _WORDS.get(row.state or "", _AGAIN)[1]
