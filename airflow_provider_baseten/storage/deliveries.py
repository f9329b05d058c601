"""Webhook deliveries in a result store: one file for each async request."""

from collections.abc import Collection

from airflow_provider_baseten.api.webhook import Delivery
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.result_store import FILE_NAME, ResultStore


class Deliveries:
    """The results that Baseten has delivered. The webhook receiver saves them; workers and triggers look for them.

    :param store: the result store.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    def save(self, request_id: str, body: bytes) -> bool:
        """Save the body of a delivery; a second delivery for the same request changes nothing.

        :returns: whether it was saved now; ``False`` if the request has a delivery already.
        :raises BasetenResultStoreError: the delivery could not be written.
        """
        if self.delivered([request_id]):
            return False
        self._store.write(_file_name(request_id), body)
        return True

    def load(self, request_id: str) -> Delivery | None:
        """Return the delivery of a request, ``None`` if there is none.

        :raises BasetenResultStoreError: the delivery could not be read.
        """
        name = _file_name(request_id)
        body = self._store.read(name)
        try:
            return None if body is None else Delivery.parse(body)
        except ValueError as error:
            raise BasetenResultStoreError(
                f"The result of async request {request_id}, {self._store.uri_of(name)}, is damaged ({error}). Put a "
                "copy of it in its place. Without a copy the output is lost, because Baseten keeps none: clear the "
                "task that sent the request to run the model again.",
                request_id=request_id,
                may_have_run=True,
            ) from None

    def delivered(self, request_ids: Collection[str]) -> set[str]:
        """Return the ids of those requests whose result was delivered.

        This blocks, so a trigger calls it in a thread.

        :raises BasetenResultStoreError: the store could not be read.
        """
        names = {_file_name(request_id): request_id for request_id in request_ids}
        return {names[name] for name in files.existing(self._store.uri, names)}

    def remove(self, request_id: str) -> None:
        """Delete the delivery of a request, if there is one.

        :raises BasetenResultStoreError: the delivery could not be deleted.
        """
        self._store.remove(_file_name(request_id))


def _file_name(request_id: str) -> str:
    if not FILE_NAME.fullmatch(request_id):
        raise BasetenResultStoreError(f"{request_id!r:.80} is not a request id, so nothing is stored under it.")
    return f"{request_id}.json"
