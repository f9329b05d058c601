"""A request that one process hands to another through the result store, and its answer on the way back.

The worker leaves the request, the trigger notes that it tries, sends it and leaves the answer or the error, the worker
picks that up. Trigger arguments and events carry the name alone, and a triggerer that takes over sees how far it got.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.api.requests import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError
from airflow_provider_baseten.identity import Identity
from airflow_provider_baseten.results import ResultStore


def name_of(identity: Identity, max_tries: int, fingerprint: str) -> str:
    """Return the name under which a task instance finds its call again: in a retry, but not after a clear.

    :param identity: of the task instance.
    :param max_tries: Airflow's: a clear raises it.
    :param fingerprint: of the request.
    """
    return hashlib.sha256(json.dumps([identity.key, max_tries, fingerprint]).encode()).hexdigest()


class DeferredCall:
    """One call in a result store. All methods block; a trigger calls them in a thread.

    :param store: where it is kept.
    :param name: see :func:`name_of`.
    :raises BasetenResultStoreError: from every method, if the store can't be read or written.
    """

    def __init__(self, store: ResultStore, name: str) -> None:
        self._store = store
        self._folder = f"calls/{name}"

    def leave_request(self, request: Request) -> None:
        """Write the request."""
        head = {
            "method": request.method,
            "url": request.url,
            "subject": request.subject,
            "headers": dict(request.headers),
            "has_body": request.body is not None,
            "idempotent": request.idempotent,
            "allowed_statuses": sorted(request.allowed_statuses),
        }
        self._write("request", head, request.body or b"")

    def request(self) -> Request:
        """Return the request."""
        found = self._read("request")
        if found is None:
            raise BasetenResultStoreError(
                f"The input of this task is not in {self._store.uri}: the worker and the triggerer do not share a "
                "result store; give both the same result_store."
            )
        head, body = found
        allowed, has_body = frozenset(head.pop("allowed_statuses")), head.pop("has_body")
        return Request(**head, allowed_statuses=allowed, body=body if has_body else None)

    def begin(self) -> bool:
        """Note an attempt to send; return whether there was one before that has not ended."""
        unfinished = self._store.read(f"{self._folder}/attempt") is not None
        if not unfinished:
            self._store.write(f"{self._folder}/attempt", b"{}")
        return unfinished

    def leave_response(self, response: Response) -> None:
        """Write the answer."""
        self._write("response", {"status": response.status, "headers": dict(response.headers)}, response.read())

    def response(self) -> Response | None:
        """Return the answer, ``None`` while there is none."""
        found = self._read("response")
        return None if found is None else Response(request=self.request(), body=found[1], **found[0])

    def leave_error(self, error: BasetenError) -> None:
        """Write the error that took the place of an answer."""
        fields = {name: value for name, value in vars(error).items() if not name.startswith("_")}
        self._write("error", {"type": type(error).__name__, "message": str(error), "fields": fields}, b"")

    def take_error(self) -> BasetenError | None:
        """Return the error, if there is one, and forget the attempt, so that the next one sends again.

        An attempt that was not to be sent again is not forgotten.
        """
        found = self._read("error")
        if found is None:
            return None
        error: BasetenError = getattr(exceptions, found[0]["type"])(found[0]["message"], **found[0]["fields"])
        self._store.remove(f"{self._folder}/error")
        if not isinstance(error, exceptions.BasetenOrphanedRequestError):
            self._store.remove(f"{self._folder}/attempt")
        return error

    def _write(self, name: str, head: Mapping[str, Any], body: bytes) -> None:
        self._store.write(f"{self._folder}/{name}", json.dumps(head).encode() + b"\n" + body)

    def _read(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        content = self._store.read(f"{self._folder}/{name}")
        if content is None:
            return None
        head, _, body = content.partition(b"\n")
        return json.loads(head), body
