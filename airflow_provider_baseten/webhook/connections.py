"""Connections that may receive deliveries. They are looked up in Airflow and cached for a few seconds."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.hooks.connection_variable import check_variable
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery, Refusal, VerifiedDelivery, identify

Lookup = Callable[[str], BasetenConnection | None]

_log = logging.getLogger(__name__)

# Maximum number of entries in the cache, more than any installation has connections. Without a maximum, strangers who
# guess ids could fill the memory, because an id without a connection also gets an entry.
_MAX_ENTRIES = 256


def find_airflow_connection(conn_id: str) -> BasetenConnection | None:
    """Return a connection from Airflow's secrets backends. Blocks.

    In the API server, a connection in Airflow's database is found too, because the database is one of the backends.

    :returns: ``None`` if there is no usable connection of type ``baseten`` with that id; if it is not valid, the reason
        is logged.
    :raises Exception: the database or a secrets backend is down, so it is unknown whether the connection exists.
    """
    found = _airflow_connection(conn_id)
    try:
        return BasetenConnection.from_airflow(found) if found else None
    except BasetenError as error:
        _log.warning("Deliveries for connection %s are refused: %s", conn_id, error)
        return None


def load_airflow_connection(conn_id: str) -> BasetenConnection | None:
    """Return a connection as :func:`find_airflow_connection` does, but raise an error if it is not valid.

    :raises BasetenError: the connection is not valid, or Airflow can't read it from its environment variable.
    :raises Exception: the database or a secrets backend is down, so it is unknown whether the connection exists.
    """
    try:
        found = _airflow_connection(conn_id)
    except Exception:
        check_variable(conn_id)  # If it is set, it can't be read. Otherwise Airflow would have found the connection.
        raise
    return BasetenConnection.from_airflow(found) if found else None


def _airflow_connection(conn_id: str) -> Any:
    """Return Airflow's connection if there is one of type ``baseten``."""
    from airflow_provider_baseten.compat import AirflowNotFoundException, BaseHook

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        from airflow_provider_baseten.compat import secrets_backends

        # Airflow raises AirflowNotFoundException also if a backend is down. So each backend is called directly: a
        # backend that is down then raises its own error, and so does a variable that can't be read.
        backends = secrets_backends()
        for backend in backends() if backends else ():
            backend.get_connection(conn_id=conn_id)
        return None
    return found if found.conn_type == "baseten" else None


class Connections:
    """Cache that keeps each connection for a few seconds.

    So a burst of deliveries needs only one lookup, and a new secret is soon known.

    While the lookup fails, the last known state of a connection is used, so that no result is lost in an outage of the
    database.

    :param lookup: function that finds a connection; called by one thread at a time.
    :param seconds: time to live of an entry, in seconds.
    :param clock: monotonic clock in seconds.
    """

    def __init__(self, lookup: Lookup, *, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def find(self, conn_id: str) -> BasetenConnection | None:
        """Return the connection, ``None`` if there is none.

        :raises Exception: the lookup failed, and the connection is not cached.
        """
        return self._find(conn_id, lambda entry: self._clock() - entry.looked_up_at < self._seconds)

    def identify(self, attempt: ReceivedDelivery, conn_id: str) -> VerifiedDelivery:
        """Check that a delivery to a connection comes from Baseten, as :func:`~.delivery.identify` does.

        Before a delivery is refused, the connection is looked up again. The connection or its secret may be newer than
        the cache, and Baseten does not repeat the delivery after a wrong refusal. Deliveries that arrive at the same
        time share this lookup.

        :raises Refusal: the delivery is not accepted.
        :raises Exception: the lookup failed, and the connection is not cached.
        """
        began = self._clock()
        try:
            return identify(attempt, self.find(conn_id))
        except Refusal:
            return identify(attempt, self._find(conn_id, lambda entry: entry.looked_up_at >= began))

    def _find(self, conn_id: str, is_good: Callable[["_Entry"], bool]) -> BasetenConnection | None:
        if (entry := self._entries.get(conn_id)) and is_good(entry):
            return entry.connection
        with self._lock:
            # Another thread may have looked up the connection while this one waited for the lock.
            entry = self._entries.get(conn_id)
            if entry and is_good(entry):
                return entry.connection
            self._entries.pop(conn_id, None)
            looked_up_at = self._clock()
            connection = self._look_up(conn_id, entry.connection if entry else None)
            self._entries[conn_id] = _Entry(looked_up_at, connection)
            if len(self._entries) > _MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
            return connection

    def _look_up(self, conn_id: str, known: BasetenConnection | None) -> BasetenConnection | None:
        try:
            return self._lookup(conn_id)
        except Exception as error:
            if known is None:
                raise
            _log.warning("Connection %s can't be looked up (%s); its last state is used", conn_id, type(error).__name__)
            return known


class _Entry(NamedTuple):
    looked_up_at: float
    connection: BasetenConnection | None
