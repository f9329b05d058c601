"""The connection that a delivery is for."""

import logging
import threading
import time
from collections.abc import Callable

from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.connection import BasetenConnection

Lookup = Callable[[str], BasetenConnection | None]

_log = logging.getLogger(__name__)

# Beyond this the ids are probes, not connections.
_MOST_ENTRIES = 256


def of_airflow(conn_id: str) -> BasetenConnection | None:
    """Read a connection where this process finds Airflow's: in the API server that is the database too. Blocks.

    :returns: ``None`` if there is no usable connection of type ``baseten`` with that id.
    :raises Exception: the database or a secrets backend does not answer, so nobody knows.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        from airflow_provider_baseten.compat import secrets_backends

        # This is also what Airflow raises when a backend is down. Asked directly, that backend raises its own error.
        backends = secrets_backends()
        for backend in backends() if backends else ():
            backend.get_connection(conn_id=conn_id)
        return None
    if found.conn_type != "baseten":
        return None
    try:
        return BasetenConnection.from_airflow(found)
    except BasetenError as error:
        _log.warning("Deliveries for connection %s are refused: %s", conn_id, error)
        return None


class Cached:
    """Remembers connections for some seconds: a burst of deliveries is one lookup, and a new secret is soon known.

    While nobody can be asked, a connection that was there is taken to be there still, so that an outage of the database
    loses no result.

    :param lookup: finds a connection; one call at a time.
    :param seconds: how long an answer is good for.
    :param clock: seconds that never go back.
    """

    def __init__(self, lookup: Lookup, *, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._clock = clock
        self._entries: dict[str, tuple[float, BasetenConnection | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, conn_id: str) -> BasetenConnection | None:
        """Return the connection, ``None`` if there is none.

        :raises Exception: it is not known, and the lookup failed.
        """
        if entry := self._remembered(conn_id):
            return entry[1]
        with self._lock:
            # Who waited for the lock may find what was just looked up.
            if entry := self._remembered(conn_id):
                return entry[1]
            _, known = self._entries.pop(conn_id, (0.0, None))
            connection = self._found(conn_id, known)
            self._entries[conn_id] = (self._clock() + self._seconds, connection)
            if len(self._entries) > _MOST_ENTRIES:
                del self._entries[next(iter(self._entries))]
            return connection

    def _remembered(self, conn_id: str) -> tuple[float, BasetenConnection | None] | None:
        entry = self._entries.get(conn_id)
        return entry if entry and self._clock() < entry[0] else None

    def _found(self, conn_id: str, known: BasetenConnection | None) -> BasetenConnection | None:
        try:
            return self._lookup(conn_id)
        except Exception as error:
            if known is None:
                raise
            _log.warning("Connection %s can't be looked up (%s); its last state is used", conn_id, type(error).__name__)
            return known
