"""Audit log: what calls of the management API have changed."""

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.emulator.clock import Clock, timestamp


@dataclass(frozen=True, slots=True)
class AuditLogEntry:
    """Entry of the audit log.

    :param id: id of the entry.
    :param created: time in seconds since the epoch.
    :param event_type: type of the event.
    :param event_data: what was changed.
    :param key_prefix: prefix of the API key of the caller, ``None`` if it has none.
    """

    id: str
    created: float
    event_type: str
    event_data: dict[str, Any]
    key_prefix: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the entry in the form of Baseten's API."""
        return {
            "id": self.id,
            "created": timestamp(self.created),
            "event_type": self.event_type,
            "event_data": {"event_type": self.event_type, **self.event_data},
            "source": "API",
            "actor": {"type": "API_KEY", "email": None, "api_key_prefix": self.key_prefix, "api_key_name": None},
            "client_name": None,
            "client_version": None,
            "client_session_id": None,
        }


class AuditLog:
    """The most recent entries of the audit log.

    :param clock: source of time.
    :param limit: maximum number of entries.
    """

    def __init__(self, clock: Clock, limit: int = 10_000) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.entries: deque[AuditLogEntry] = deque(maxlen=limit)

    def add(self, event_type: str, event_data: dict[str, Any], key_prefix: str | None) -> None:
        """Add an entry."""
        id_ = f"audit{next(self._numbers):08d}"
        self.entries.append(AuditLogEntry(id_, self._clock.now(), event_type, event_data, key_prefix))
