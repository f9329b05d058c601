"""Deferred call: a request that the worker leaves in the result store for the trigger, and the response to it.

Trigger arguments and events hold only the name of the call. All attempts of a task use the same name, until the task
is cleared or its input changes, see :meth:`~airflow_provider_baseten.idempotency.identity.Identity.request_key`. A
retry therefore finds the files that an earlier attempt left under this name in the result store. Three of the files
prevent a second payment:

- ``claim``: created by the trigger before it sends the request. A new trigger, in another triggerer or for a retry, may
  find the claim of an earlier trigger, but no response. Then the earlier trigger may have sent the request.
  ``on_orphaned_request`` decides whether the new trigger replaces the claim and sends the request again. The earlier
  trigger may be suspended instead of dead. Therefore each trigger reads the claim before it sends the request. If the
  earlier trigger then finds the claim of the new trigger, it waits. It sends the request only if no response or error
  is stored within the timeout of the request.
- ``response``: written before the trigger ends. Triggers and attempts that find it send nothing.
- ``error``: written if there is no usable response. The worker that raises the error deletes this file and the claim,
  so that the next attempt sends the request. If the error comes from ``on_orphaned_request="fail"``, the claim stays,
  so that nothing is sent until the task is cleared.

Each file begins with a JSON object, which has the version of its format. The worker and the triggerer may run
different versions of this package, so a file in a newer format is read if the known fields have the known types.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from airflow_provider_baseten.api.error_record import error_fields, error_from
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenError, BasetenOrphanedRequestError, BasetenResultStoreError
from airflow_provider_baseten.idempotency.record_fields import known_fields
from airflow_provider_baseten.storage.result_store import ResultStore

_VERSION = 1

_REQUEST_FIELDS = {
    "method": str,
    "host": str,
    "path": str,
    "subject": str,
    "headers": dict,
    "has_body": bool,
    "idempotent": bool,
    "allowed_statuses": list,
}
_RESPONSE_FIELDS = {"status": int, "headers": dict, "large": str}
_ERROR_FIELDS = {"type": str, "message": str, "fields": dict}
_CLAIM_FIELDS = {"id": str, "started_at": int | float}


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim: the right of one trigger to send the request of a call.

    :param id: random id of one run of the trigger.
    :param started_at: when the trigger began to run, in seconds since the epoch. If two triggers have claimed a call,
        the later trigger has taken it over, and the earlier trigger waits for the response.
    """

    id: str
    started_at: float


class DeferredCall:
    """One call in a result store. All methods block; a trigger calls them in a thread.

    :param store: the result store that the worker and the triggerer share.
    :param name: name of the call.
    :raises BasetenResultStoreError: from every method, if the store can't be read or written.
    """

    def __init__(self, store: ResultStore, name: str) -> None:
        self._store = store
        self._folder = f"calls/{name}"
        self._claim = f"{self._folder}/claim"

    def leave_request(self, request: Request) -> None:
        """Write the request to the result store, for the trigger."""
        head = {
            "method": request.method,
            "host": request.host,
            "path": request.path,
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
        fields = known_fields(found[0], _REQUEST_FIELDS)
        if fields is None or not all(isinstance(status, int) for status in fields["allowed_statuses"]):
            raise self._damaged("request")
        allowed, body = frozenset(fields.pop("allowed_statuses")), found[1] if fields.pop("has_body") else None
        return Request(**fields, allowed_statuses=allowed, body=body)

    def claim(self, mine: Claim) -> Claim | None:
        """Claim the right to send the request.

        Return ``None`` on success. If another trigger has claimed the right, return the claim of that trigger.

        The other trigger has usually died or was suspended. If it had ended, it would have left a response or an error.
        After a response, no trigger calls this method. After an error, :meth:`take_error` deletes the claim.
        """
        if self._store.create(self._claim, _claim_record(mine)):
            return None
        return self.holder()

    def take_over(self, mine: Claim) -> None:
        """Replace the claim of another trigger with the claim of this trigger."""
        self._store.write(self._claim, _claim_record(mine))

    def holder(self) -> Claim | None:
        """Return the claim of the trigger that has the right to send the request, ``None`` if there is none."""
        body = self._store.read(self._claim)
        if body is None:
            return None
        with suppress(ValueError, RecursionError):
            if (fields := known_fields(json.loads(body), _CLAIM_FIELDS)) is not None:
                return Claim(**fields)
        return Claim("(unknown)", 0.0)  # A trigger died while it wrote the claim.

    def leave_response(self, response: Response) -> None:
        """Write the response. The response must be usable, because no attempt sends the request again while a response
        is stored.
        """
        head: dict[str, Any] = {"status": response.status, "headers": dict(response.headers)}
        if response.large is not None:
            head["large"] = f"{self._folder}/{uuid4().hex}"
            self._store.write(head["large"], response.large)
        self._write("response", head, response.body)

    def response(self) -> Response | None:
        """Return the response, ``None`` if there is none."""
        found = self._read("response")
        if found is None:
            return None
        fields = known_fields(found[0], _RESPONSE_FIELDS, optional=("large",))
        if fields is None:
            raise self._damaged("response")
        large = self._store.read_large(fields.pop("large")) if "large" in fields else None
        return Response(request=self.request(), body=found[1], large=large, **fields)

    def drop_response(self) -> None:
        """Delete a response that the worker can't use, and the claim, so that the request is sent again."""
        found = self._read("response")
        if found is not None and "large" in found[0]:
            self._store.remove(found[0]["large"])
        self._store.remove(f"{self._folder}/response")
        self._store.remove(self._claim)

    def has_ended(self) -> bool:
        """Return whether the result store has a response to the call, or an error."""
        return any(self._store.read(f"{self._folder}/{name}") is not None for name in ("response", "error"))

    def leave_error(self, error: BasetenError) -> None:
        """Write the error in place of a response."""
        self._write("error", error_fields(error), b"")

    def take_error(self) -> BasetenError | None:
        """Return the error, ``None`` if there is none, and delete it.

        The claim is deleted too, so that the next attempt sends the request again. The claim stays only if the error
        comes from ``on_orphaned_request="fail"``: then nothing may be sent until the task is cleared.
        """
        found = self._read("error")
        if found is None:
            return None
        fields = known_fields(found[0], _ERROR_FIELDS)
        if fields is None:
            raise self._damaged("error")
        error = error_from(fields)
        self._store.remove(f"{self._folder}/error")
        if not isinstance(error, BasetenOrphanedRequestError):
            self._store.remove(self._claim)
        return error

    def _write(self, name: str, head: Mapping[str, Any], body: bytes) -> None:
        record = json.dumps({**head, "version": _VERSION}, default=str).encode()
        self._store.write(f"{self._folder}/{name}", record + b"\n" + body)

    def _read(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        content = self._store.read(f"{self._folder}/{name}")
        if content is None:
            return None
        head, _, body = content.partition(b"\n")
        try:
            fields = json.loads(head)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise self._damaged(name)
        return fields, body

    def _damaged(self, name: str) -> BasetenResultStoreError:
        return BasetenResultStoreError(
            f"{self._store.uri_of(self._folder)}/{name} is damaged. Delete it, and the task sends its request again."
        )


def _claim_record(claim: Claim) -> bytes:
    return json.dumps({**asdict(claim), "version": _VERSION}).encode()
