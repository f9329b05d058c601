"""A request that one process hands to another through the result store, and its answer on the way back.

The worker leaves the request, the trigger claims it, sends it and leaves the answer or the error, the worker picks that
up. Trigger arguments and events carry the name alone, and a triggerer that takes over sees how far the first one got.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from airflow_provider_baseten.api.error_record import error_fields, error_from
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenError, BasetenOrphanedRequestError, BasetenResultStoreError
from airflow_provider_baseten.idempotency.identity import Identity
from airflow_provider_baseten.storage.result_store import ResultStore


def name_of(identity: Identity, max_tries: int, fingerprint: str) -> str:
    """Return the name under which a task instance finds its call again: in a retry, but not after a clear.

    :param identity: of the task instance.
    :param max_tries: Airflow's: a clear raises it.
    :param fingerprint: of the request.
    """
    return hashlib.sha256(json.dumps([identity.key, max_tries, fingerprint]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one trigger to send a call.

    :param id: of the trigger's run, made up by it.
    :param at: when the trigger began to run, in seconds since the epoch: a claim of one that began later means that
        the other was stopped meanwhile.
    """

    id: str
    at: float


class DeferredCall:
    """One call in a result store. All methods block; a trigger calls them in a thread.

    :param store: where it is kept.
    :param name: see :func:`name_of`.
    :raises BasetenResultStoreError: from every method, if the store can't be read or written.
    """

    def __init__(self, store: ResultStore, name: str) -> None:
        self._store = store
        self._folder = f"calls/{name}"
        self._claim = f"{self._folder}/claim"

    def leave_request(self, request: Request) -> None:
        """Write the request."""
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
        head, body = found
        try:
            allowed, has_body = frozenset(head.pop("allowed_statuses")), head.pop("has_body")
            return Request(**head, allowed_statuses=allowed, body=body if has_body else None)
        except (KeyError, TypeError):
            raise self._damaged("request") from None

    def claim(self, mine: Claim) -> Claim | None:
        """Claim the right to send, unless it is claimed; return the claim that is there.

        A claim that an earlier attempt of the task left behind is gone: see :meth:`take_error`.
        """
        if self._store.create(self._claim, json.dumps(asdict(mine)).encode()):
            return None
        return self.holder()

    def take_over(self, mine: Claim) -> None:
        """Replace the claim that is there."""
        self._store.write(self._claim, json.dumps(asdict(mine)).encode())

    def holder(self) -> Claim | None:
        """Return the claim that is there."""
        body = self._store.read(self._claim)
        if body is None:
            return None
        try:
            return Claim(**json.loads(body))
        except (ValueError, TypeError):  # Its trigger died while it wrote.
            return Claim("(unknown)", 0.0)

    def leave_response(self, response: Response) -> None:
        """Write the answer. Leave only what can be used: an answer that is kept ends the sending."""
        head: dict[str, Any] = {"status": response.status, "headers": dict(response.headers)}
        if response.large is not None:
            head["large"] = f"{self._folder}/{uuid4().hex}"
            self._store.write(head["large"], response.large)
        self._write("response", head, response.body)

    def response(self) -> Response | None:
        """Return the answer, ``None`` while there is none."""
        found = self._read("response")
        if found is None:
            return None
        head, body = found
        large = self._store.read_large(head["large"]) if "large" in head else None
        try:
            return Response(request=self.request(), body=body, **{**head, "large": large})
        except TypeError:
            raise self._damaged("response") from None

    def drop_response(self) -> None:
        """Forget an answer that can't be used, and the claim, so that the next attempt sends again."""
        found = self._read("response")
        if found is not None and "large" in found[0]:
            self._store.remove(found[0]["large"])
        self._store.remove(f"{self._folder}/response")
        self._store.remove(self._claim)

    def has_ended(self) -> bool:
        """Tell whether there is an answer or an error."""
        return any(self._store.read(f"{self._folder}/{name}") is not None for name in ("response", "error"))

    def leave_error(self, error: BasetenError) -> None:
        """Write the error that took the place of an answer."""
        self._write("error", error_fields(error), b"")

    def take_error(self) -> BasetenError | None:
        """Return the error, if there is one, and forget the claim, so that the next attempt sends again.

        An attempt that was not to be sent again is not forgotten.
        """
        found = self._read("error")
        if found is None:
            return None
        error = error_from(found[0])
        self._store.remove(f"{self._folder}/error")
        if not isinstance(error, BasetenOrphanedRequestError):
            self._store.remove(self._claim)
        return error

    def _write(self, name: str, head: Mapping[str, Any], body: bytes) -> None:
        self._store.write(f"{self._folder}/{name}", json.dumps(head, default=str).encode() + b"\n" + body)

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
            f"{self._folder}/{name} in {self._store.uri} is damaged. Delete it, and the task sends its request again."
        )
