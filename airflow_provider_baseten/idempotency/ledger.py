"""Ledger: the record of what a task instance has sent, so that none of its attempts pays for the same work twice.

Airflow's own mixin for resumable jobs is not used, because it loses the result when it reconnects, skips the work of a
cleared task, and keeps no record of a request that is about to be sent.

Two rules prevent a second payment. First, an intent (a record without a request id) is written before the request is
sent, and the request id is added before the task waits. So a later attempt finds the id of the request, or at least an
intent, which means that the request may have been sent. Second, a record that can't be read is an error. If it counted
as missing, the request would be sent again.

A task instance has one entry for each kind of work that is paid for, see :data:`Kind`. The request of a deferred
predict task has no entry, because Baseten gives it no id by which a later attempt could find it. Its record is a
deferred call, see :mod:`~airflow_provider_baseten.idempotency.deferred_call`. Entries and deferred calls use the same
identity, the same fingerprint and the same rule for orphaned requests.
"""

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_baseten import compat
from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.idempotency.orphans import OnOrphanedRequest, check_orphan
from airflow_provider_baseten.idempotency.record_fields import known_fields
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.storage.write_retries import persist

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request

# Kinds of work that is paid for. A task instance has one entry for each.
Kind = Literal["async_request", "promotion", "training_job"]

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The last request of one kind that a task instance has sent, or was about to send.

    :param fingerprint: result of :func:`fingerprint_request`. An attempt with the same fingerprint uses
        the request that was sent. An attempt with another fingerprint replaces that request.
    :param max_tries: Airflow's ``max_tries`` when the request was sent. A retry has the same number, so it uses the
        request that was sent. A clear raises the number, so a cleared task sends a new request.
    :param run: start time of the run that the request belongs to. It differs between a deleted run and a new run with
        the same id. So the new run sends its own request, and does not get the output of the deleted run.
    :param created_at: when the request was about to be sent, in seconds since the epoch. A request can have a record in
        each of two stores, see :func:`open_ledger`. Two records with equal times belong to the same request.
    :param request_id: id of the request; ``None`` for an intent. An attempt that finds only an intent can't know
        whether the request was sent. Then ``on_orphaned_request`` decides whether to risk a second payment.
    :param before: ids that were there before the request was sent, separated by commas, if a new id shows that Baseten
        has accepted the request; ``None`` otherwise.
    :param kind: kind of the work that is paid for.
    :param version: version of the record's format. A record in a newer format is read if the known fields have
        the known types.
    """

    fingerprint: str
    max_tries: int
    created_at: float
    run: str | None = None
    request_id: str | None = None
    before: str | None = None
    kind: Kind = "async_request"
    version: int = _VERSION

    def matches(self, wanted: "Entry") -> bool:
        """Return whether an attempt can use the request of this entry instead of sending its own.

        It can if the run and the request are the same, and the task was not cleared since.

        :param wanted: entry that the attempt would record before it sends its own request.
        """
        same_run = self.run == wanted.run or self.run is None or wanted.run is None
        return same_run and (self.fingerprint, self.max_tries) == (wanted.fingerprint, wanted.max_tries)


@dataclass(frozen=True, slots=True)
class Send:
    """Plan of an attempt: send the request."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Plan of an attempt: wait for the request that an earlier attempt sent, and send nothing.

    :param request_id: id of the earlier request.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Plan of an attempt: cancel the request that an earlier attempt sent, if it is still queued; then send a new one.

    :param request_id: id of the earlier request.
    """

    request_id: str


def fingerprint_request(request: "Request") -> str:
    """Return a hash that is equal for two requests with the same target, input and options.

    The base URL of the connection is left out: otherwise adding a proxy between two attempts would change the hash, and
    the request would be sent, and paid for, again.
    """
    content = f"{request.method} {request.host}{request.path}\n".encode() + (request.body or b"")
    return hashlib.sha256(content).hexdigest()


def intent(context: "Context", fingerprint: str, kind: Kind = "async_request") -> Entry:
    """Return the entry that is recorded before a request is sent.

    :param context: context of the task.
    :param fingerprint: fingerprint of the request.
    """
    identity = identity_of(context)
    return Entry(
        fingerprint=fingerprint, max_tries=identity.max_tries, run=identity.run, kind=kind, created_at=time.time()
    )


def plan(entry: Entry | None, wanted: Entry, on_orphaned_request: OnOrphanedRequest) -> Send | Attach | Replace:
    """Decide whether an attempt sends its request, waits for an earlier request, or replaces an earlier request.

    :param entry: entry that an earlier attempt recorded, ``None`` if there is none.
    :param wanted: entry that this attempt would record before it sends its own request.
    :raises BasetenOrphanedRequestError: an earlier attempt died while it sent the same request, and
        ``on_orphaned_request`` is ``fail``.
    """
    if entry is None:
        return Send()
    if entry.request_id is not None:
        return Attach(entry.request_id) if entry.matches(wanted) else Replace(entry.request_id)
    if entry.matches(wanted):
        check_orphan(
            on_orphaned_request,
            "An earlier attempt of this task died while it sent its request, so Baseten may be running it under an "
            "unknown id. Look at the queue of the deployment, then clear the task to send it again.",
        )
    return Send()


class Ledger(Protocol):
    """Storage of the entry that a task instance has for one kind of work. All attempts share the entry.

    :raises BasetenResultStoreError: from every method, if the entry can't be read or written. Airflow's own errors of
        the task state store are passed on.
    """

    def read(self) -> Entry | None:
        """Return the entry, ``None`` if there is none."""

    def write(self, entry: Entry) -> None:
        """Replace the entry."""

    def delete(self) -> None:
        """Delete the entry of a request that has ended or was not accepted. The next attempt then sends a request."""


def open_ledger(context: "Context", store: ResultStore, kind: Kind = "async_request") -> Ledger:
    """Return the ledger of a task instance for one kind of work.

    With Airflow 3.3 and newer the entry is in the task state store. An entry with an id is also written to
    the result store, if the store works. With older versions the entry is only in the result store.
    """
    identity = identity_of(context)
    stored = _InResultStore(store, identity.name, kind)
    task_states: Any = compat.task_state_store(context)
    return stored if task_states is None else _InTaskStates(task_states, stored, identity.run, kind)


def write_persistently(ledger: Ledger, entry: Entry) -> None:
    """Record the id of a request that was sent. A write that fails is repeated for a minute.

    If the id is not recorded, the next attempt can't find the request, and may send and pay for another one.

    :param entry: entry of the request, with its id.
    :raises Exception: the last error of Airflow or of the result store.
    """
    persist(lambda: ledger.write(entry), errors=Exception)


class _InTaskStates:
    """Ledger with its entry in Airflow's task state store.

    When a request has an id, its entry is written to the result store too. This copy prevents a second payment if the
    worker dies, or Airflow's API fails, before the id is in the task state store. The copy also serves to find the
    request of a deleted run, because Airflow deletes the task states together with the run.
    """

    def __init__(self, task_states: Any, stored: "_InResultStore", run: str | None, kind: Kind) -> None:
        self._task_states = task_states
        self._stored = stored
        self._run = run
        self._kind = kind
        self._key = f"baseten_{kind}"

    def read(self) -> Entry | None:
        entry = _entry(self._task_states.get(self._key), self._kind, "Airflow's task state store")
        if entry is None:
            return self._left_by_another_run()
        if entry.request_id is not None:
            return entry
        # A worker writes the id first to the result store and then to the task state store. It may have died in
        # between, so the id may be only in the result store.
        stored = self._stored.read()
        return stored if stored is not None and replace(stored, request_id=None) == entry else entry

    def write(self, entry: Entry) -> None:
        is_stored = entry.request_id is not None and self._store(entry)
        try:
            self._task_states.set(self._key, asdict(entry), retention=compat.NEVER_EXPIRE)
        except Exception:
            if not is_stored:
                raise

    def delete(self) -> None:
        self._task_states.delete(self._key)

    def _store(self, entry: Entry) -> bool:
        try:
            self._stored.write(entry)
        except BasetenError:
            return False
        return True

    def _left_by_another_run(self) -> Entry | None:
        """Return the entry that a deleted run has left; ``None`` if no such entry can be read.

        The deleted run had the same id as the current run, which can cancel the old request with this entry.
        """
        with suppress(BasetenError):
            stored = self._stored.read()
            if stored is not None and None not in {stored.run, self._run} and stored.run != self._run:
                return stored
        return None


class _InResultStore:
    def __init__(self, store: ResultStore, name: str, kind: Kind) -> None:
        self._store = store
        self._kind = kind
        self._name = f"ledger/{name}-{kind}"

    def read(self) -> Entry | None:
        body = self._store.read(self._name)
        where = self._store.uri_of(self._name)
        try:
            return None if body is None else _entry(json.loads(body), self._kind, where)
        except (ValueError, RecursionError):
            raise _damaged(where) from None

    def write(self, entry: Entry) -> None:
        self._store.write(self._name, json.dumps(asdict(entry)).encode())

    def delete(self) -> None:
        self._store.remove(self._name)


def _entry(value: Any, kind: Kind, where: str) -> Entry | None:
    """Return the entry that a record holds.

    The record may be of another version of the package, so unknown fields are skipped.

    :param value: the record, decoded from JSON. If it is ``None``, there is no record, and ``None`` is returned.
    :param where: where the record is stored, for the error message.
    :raises BasetenResultStoreError: a required field is missing or has another type, or the record is of another
        kind.
    """
    if value is None:
        return None
    known = known_fields(value, _FIELDS, optional=("run", "request_id", "before"))
    if known is None:
        raise _damaged(where)
    entry = Entry(**known)
    if entry.kind != kind:
        raise _damaged(where)
    return entry


_FIELDS: dict[str, Any] = {
    "fingerprint": str,
    "max_tries": int,
    "created_at": int | float,
    "run": str | None,
    "request_id": str | None,
    "before": str | None,
    "kind": str,
    "version": int,
}


def _damaged(where: str) -> BasetenResultStoreError:
    return BasetenResultStoreError(
        f"The record of what this task has sent, {where}, is damaged or of an unknown version. Delete it if the task "
        "may send its request again."
    )
