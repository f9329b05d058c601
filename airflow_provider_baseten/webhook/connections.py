"""The connection that a delivery is for."""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.webhook.delivery import Attempt, Authentic, Refused, identify

Lookup = Callable[[str], BasetenConnection | None]

_log = logging.getLogger(__name__)

# Beyond this the ids are probes, not connections.
_MOST_ENTRIES = 256


def of_airflow(conn_id: str) -> BasetenConnection | None:
    """Read a connection where this process finds Airflow's: in the API server that is the database too. Blocks.

    :returns: ``None`` if there is no usable connection of type ``baseten`` with that id.
    :raises Exception: the database or a secrets backend does not answer, so nobody knows.
    """
    from airflow_provider_baseten.compat import AirflowNotFoundException, BaseHook

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


class Connections:
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
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def find(self, conn_id: str) -> BasetenConnection | None:
        """Return the connection, ``None`` if there is none.

        :raises Exception: it is not known, and the lookup failed.
        """
        return self._found(conn_id, lambda entry: self._clock() - entry.asked < self._seconds)

    def identify(self, attempt: Attempt, conn_id: str) -> Authentic:
        """Check that a delivery to a connection comes from Baseten, as :func:`~.delivery.identify` does.

        What is refused is lost. So no delivery is refused for what was remembered: the connection, or its secret, may
        be new. Those that are refused at once share one lookup.

        :raises Refused: it is not taken.
        :raises Exception: the connection is not known, and the lookup failed.
        """
        began = self._clock()
        try:
            return identify(attempt, self.find(conn_id))
        except Refused:
            return identify(attempt, self._found(conn_id, lambda entry: entry.asked >= began))

    def _found(self, conn_id: str, is_good: Callable[["_Entry"], bool]) -> BasetenConnection | None:
        if (entry := self._entries.get(conn_id)) and is_good(entry):
            return entry.connection
        with self._lock:
            # Who waited for the lock may find what was just looked up.
            entry = self._entries.get(conn_id)
            if entry and is_good(entry):
                return entry.connection
            self._entries.pop(conn_id, None)
            asked = self._clock()
            connection = self._looked_up(conn_id, entry.connection if entry else None)
            self._entries[conn_id] = _Entry(asked, connection)
            if len(self._entries) > _MOST_ENTRIES:
                del self._entries[next(iter(self._entries))]
            return connection

    def _looked_up(self, conn_id: str, known: BasetenConnection | None) -> BasetenConnection | None:
        try:
            return self._lookup(conn_id)
        except Exception as error:
            if known is None:
                raise
            _log.warning("Connection %s can't be looked up (%s); its last state is used", conn_id, type(error).__name__)
            return known


class _Entry(NamedTuple):
    asked: float
    connection: BasetenConnection | None
