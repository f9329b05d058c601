"""Arrivals: results for which no task waits, noted in the result store until a trigger has reported them."""

import hashlib
import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_baseten.api.webhook import Delivery
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import FILE_NAME, ResultStore

_FOLDER = "arrivals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A result that has arrived. It holds no output.

    :param request_id: id of the async request.
    :param status: ``SUCCEEDED`` or ``FAILED``; ``None`` if it is not known.
    :param arrived: when the result arrived, in seconds since the epoch.
    """

    request_id: str
    status: str | None = None
    arrived: float = 0.0


class Arrivals:
    """The results of a connection that no trigger has reported yet: one small file for each.

    :param store: the result store.
    :param conn_id: id of the connection that the results were delivered for.
    :raises BasetenResultStoreError: the store could not be read or written. Every method may raise it.
    """

    def __init__(self, store: ResultStore, conn_id: str) -> None:
        self._store = store
        # An id may hold characters that a path must not have. The hash has none.
        self._folder = f"{_FOLDER}/{hashlib.sha256(conn_id.encode()).hexdigest()[:32]}"

    def save(self, request_id: str, body: bytes) -> bool:
        """Note and save a delivery; a second delivery for the same request changes nothing.

        The note is written before the result. If it were written after it, a receiver that dies in between would lose
        the note, because the copy that Baseten sends then finds the result and changes nothing.

        :param body: body of the delivery.
        :returns: whether it was saved now; ``False`` if the request has a delivery already.
        """
        deliveries = Deliveries(self._store)
        if deliveries.delivered([request_id]):
            return False
        arrival = Arrival(request_id=request_id, status=_status_of(body), arrived=time.time())
        self._store.write(f"{self._folder}/{request_id}", json.dumps(asdict(arrival)).encode())
        return deliveries.save(request_id, body)

    def ids(self) -> list[str]:
        """Return the request ids of all notes, sorted."""
        return [name for name in files.names_in(self._store.uri_of(self._folder)) if FILE_NAME.fullmatch(name)]

    def load(self, request_ids: Collection[str]) -> list[Arrival]:
        """Return the arrivals of those requests whose result is stored.

        :param request_ids: at most 32 ids, because more would be looked up by a listing of the whole store.
        """
        stored = Deliveries(self._store).delivered(request_ids)
        notes = {request_id: self._store.read(f"{self._folder}/{request_id}") for request_id in sorted(stored)}
        return [_arrival(request_id, note) for request_id, note in notes.items() if note is not None]

    def remove(self, request_id: str) -> None:
        """Delete a note, if there is one. The result stays."""
        self._store.remove(f"{self._folder}/{request_id}")


def _status_of(body: bytes) -> str | None:
    try:
        delivery = Delivery.parse(body)
    except ValueError:
        return None
    if delivery.errors:
        return "FAILED"
    return "SUCCEEDED" if delivery.is_whole else None


def _arrival(request_id: str, note: bytes) -> Arrival:
    """Return the arrival of a note. A damaged note counts too, because its name says what has arrived."""
    try:
        fields: Any = json.loads(note)
        status, arrived = fields.get("status"), float(fields.get("arrived", 0.0))
    except (ValueError, AttributeError, TypeError):
        return Arrival(request_id=request_id)
    return Arrival(request_id=request_id, status=status if isinstance(status, str) else None, arrived=arrived)
