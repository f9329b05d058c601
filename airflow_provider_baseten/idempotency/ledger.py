"""The ledger: what a task instance has already sent, so that no attempt of it pays for the same work twice.

Airflow's own mixin for resuming jobs is not used: it loses the result when it reconnects, skips the work of a cleared
task, and keeps no record of a request that was about to be sent.

Invariants: the intent is written before the request is sent and the id before anything is waited for; a record that
can't be read is an error, never taken for the absence of one.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenOrphanedRequestError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.storage.result_store import ResultStore

if TYPE_CHECKING:
    from airflow.sdk import Context

OnOrphanedRequest = Literal["resubmit", "fail"]
ON_ORPHANED_REQUEST = get_args(OnOrphanedRequest)

_KEY = "baseten_async_request"
_VERSION = 1

# Seconds.
_PERSISTENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request of a task instance.

    :param fingerprint: see :func:`fingerprint`.
    :param max_tries: Airflow's, when the request was sent: a retry leaves it as it is, a clear raises it.
    :param run: which run the task instance belongs to: without it a run that was deleted and made again under its id
        would be given the output of the old one.
    :param at: when the request was about to be sent, in seconds since the epoch.
    :param request_id: ``None`` for an intent.
    :param version: of the record.
    """

    fingerprint: str
    max_tries: int
    at: float
    run: str | None = None
    request_id: str | None = None
    version: int = _VERSION

    def serves(self, wanted: "Entry") -> bool:
        """Tell whether this request is what is wanted now: the task was not cleared, and nothing has changed."""
        same_run = self.run == wanted.run or self.run is None or wanted.run is None
        return same_run and (self.fingerprint, self.max_tries) == (wanted.fingerprint, wanted.max_tries)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attempt does about its request.

    :param action: ``send`` it, ``attach`` to the one that was sent, or ``replace`` that one: cancel it if it is still
        queued and send anew.
    :param request_id: the one that was sent.
    """

    action: Literal["send", "attach", "replace"]
    request_id: str | None = None


def fingerprint(request: Request) -> str:
    """Return a hash of what is called, with which input and options.

    The base URL of the connection is not part of it: a proxy that is added between two attempts must not pay twice.
    """
    return hashlib.sha256(f"{request.host}{request.path}\n".encode() + (request.body or b"")).hexdigest()


def intent(context: "Context", mark: str) -> Entry:
    """Return the entry that is written before a request is sent.

    :param context: of the task instance.
    :param mark: fingerprint of the request.
    """
    ti: Any = context["ti"]
    return Entry(fingerprint=mark, max_tries=ti.max_tries, run=identity_of(context).run, at=time.time())


def plan(entry: Entry | None, wanted: Entry, on_orphaned_request: OnOrphanedRequest) -> Plan:
    """Decide what an attempt does.

    :param entry: what an earlier attempt recorded.
    :param wanted: what this one would record.
    :raises BasetenOrphanedRequestError: an earlier attempt died while sending, and the policy is ``fail``.
    """
    if entry is None:
        return Plan("send")
    serves = entry.serves(wanted)
    if entry.request_id is not None:
        return Plan("attach" if serves else "replace", entry.request_id)
    if serves and on_orphaned_request == "fail":
        raise BasetenOrphanedRequestError(
            "An earlier attempt of this task died while it sent its request, so Baseten may be running it under an id "
            "that nobody knows. Look at the queue of the deployment, then clear the task to send it again.",
            may_have_run=True,
        )
    return Plan("send")


class Ledger(Protocol):
    """Keeps one entry for each task instance, whatever its try number.

    :raises BasetenResultStoreError: from every method: the entry can't be read or written. Airflow's own errors of the
        task state store are passed on.
    """

    def read(self) -> Entry | None:
        """Return the entry."""

    def write(self, entry: Entry) -> None:
        """Replace the entry."""

    def delete(self) -> None:
        """Forget the entry: what it records is over and may be sent again."""


def open_ledger(context: "Context", store: ResultStore, *, durable: bool) -> Ledger:
    """Return the ledger of a task instance.

    In the task state store of Airflow 3.3 and newer, with a second record of each id in the result store; otherwise in
    the result store.

    :param durable: false for one that forgets.
    """
    if not durable:
        return _Forgetful()
    identity = identity_of(context)
    stored = _InResultStore(store, identity.name)
    task_states: Any = context.get("task_state_store")
    return stored if task_states is None else _InTaskStates(task_states, stored, identity.run)


def write_persistently(book: Ledger, entry: Entry) -> None:
    """Replace the entry, and try for a minute: a request that was sent and is not recorded is paid for twice.

    :raises Exception: the last failure of the ledger, whatever Airflow or the store makes of it.
    """
    import tenacity

    wait, stop = tenacity.wait_exponential(multiplier=0.5, max=5), tenacity.stop_after_delay(_PERSISTENCE)
    tenacity.Retrying(wait=wait, stop=stop, reraise=True)(book.write, entry)


class _InTaskStates:
    """The task state store decides; the result store holds ids that did not get there, and those of deleted runs.

    Airflow deletes the task states with their run.
    """

    def __init__(self, task_states: Any, stored: "_InResultStore", run: str | None) -> None:
        self._task_states = task_states
        self._stored = stored
        self._run = run

    def read(self) -> Entry | None:
        entry = _entry(self._task_states.get(_KEY), "Airflow's task state store")
        if entry is None:
            return self._left_by_another_run()
        if entry.request_id is not None:
            return entry
        # The worker that wrote the intent may have died after its first record of the id.
        stored = self._stored.read()
        return stored if stored is not None and replace(stored, request_id=None) == entry else entry

    def write(self, entry: Entry) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        is_stored = entry.request_id is not None and self._store(entry)
        try:
            self._task_states.set(_KEY, asdict(entry), retention=NEVER_EXPIRE)
        except Exception:
            if not is_stored:
                raise

    def delete(self) -> None:
        self._task_states.delete(_KEY)

    def _store(self, entry: Entry) -> bool:
        try:
            self._stored.write(entry)
        except BasetenError:
            return False
        return True

    def _left_by_another_run(self) -> Entry | None:
        """Return what a deleted run of the same id has sent, so that it is cancelled; best effort."""
        with suppress(BasetenError):
            stored = self._stored.read()
            if stored is not None and None not in {stored.run, self._run} and stored.run != self._run:
                return stored
        return None


class _InResultStore:
    def __init__(self, store: ResultStore, name: str) -> None:
        self._store = store
        self._name = f"ledger/{name}"

    def read(self) -> Entry | None:
        body = self._store.read(self._name)
        where = f"{self._name} in {self._store.uri}"
        try:
            return None if body is None else _entry(json.loads(body), where)
        except (ValueError, RecursionError):
            raise _damaged(where) from None

    def write(self, entry: Entry) -> None:
        self._store.write(self._name, json.dumps(asdict(entry)).encode())

    def delete(self) -> None:
        self._store.remove(self._name)


class _Forgetful:
    def read(self) -> Entry | None:
        return None

    def write(self, entry: Entry) -> None:
        pass

    def delete(self) -> None:
        pass


def _entry(value: Any, where: str) -> Entry | None:
    """Read a record, also one of an older or newer version of this package: fields that are not known are skipped.

    :raises BasetenResultStoreError: a field that decides is missing or is not what it should be.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _damaged(where)
    known = {name: value[name] for name in _FIELDS if name in value}
    of_type = all(isinstance(item, _FIELDS[name]) and not isinstance(item, bool) for name, item in known.items())
    if not of_type or not known.keys() >= {"fingerprint", "max_tries", "at"}:
        raise _damaged(where)
    return Entry(**known)


_FIELDS: dict[str, Any] = {
    "fingerprint": str,
    "max_tries": int,
    "at": int | float,
    "run": str | None,
    "request_id": str | None,
    "version": int,
}


def _damaged(where: str) -> BasetenResultStoreError:
    return BasetenResultStoreError(
        f"The record of what this task has sent, {where}, is damaged or of an unknown version. Delete it if the task "
        "may send its request again."
    )
