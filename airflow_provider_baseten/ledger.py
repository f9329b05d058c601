"""What a task instance has already sent, so that no attempt of it pays for the same work twice.

Airflow's own mixin for resuming jobs is not used: it loses the result when it reconnects, skips the work of a cleared
task, and keeps no record of a request that was about to be sent.

Invariants: the intent is written before the request is sent and the id before anything is waited for; a record that
can't be read is an error, never taken for the absence of one.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_baseten.exceptions import BasetenOrphanedRequestError, BasetenResultStoreError
from airflow_provider_baseten.results import ResultStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.requests import Request

OnOrphanedRequest = Literal["resubmit", "fail"]

_KEY = "baseten_async_request"

# Seconds.
_PERSISTENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request of a task instance.

    :param fingerprint: of target, input and options.
    :param max_tries: Airflow's, when it was sent: a retry leaves it as it is, a clear raises it.
    :param at: seconds since the epoch.
    :param request_id: ``None`` for an intent.
    """

    fingerprint: str
    max_tries: int
    at: float
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attempt does about its request.

    :param action: ``send`` it, ``attach`` to the one that was sent, or ``replace`` that one: cancel it if it is still
        queued and send anew.
    :param request_id: the one that was sent.
    """

    action: Literal["send", "attach", "replace"]
    request_id: str | None = None


def fingerprint(request: "Request") -> str:
    """Return what makes two requests the same."""
    return hashlib.sha256(request.url.encode() + b"\n" + (request.body or b"")).hexdigest()


def plan(entry: Entry | None, mark: str, max_tries: int, on_orphaned_request: OnOrphanedRequest) -> Plan:
    """Decide what an attempt does.

    :param entry: what an earlier attempt recorded.
    :param mark: fingerprint of what is to be sent now.
    :param max_tries: of the task instance now.
    :raises BasetenOrphanedRequestError: an earlier attempt died while sending, and the policy is ``fail``.
    """
    if entry is None:
        return Plan("send")
    wanted_again = (entry.fingerprint, entry.max_tries) != (mark, max_tries)
    if entry.request_id is not None:
        return Plan("replace" if wanted_again else "attach", entry.request_id)
    if not wanted_again and on_orphaned_request == "fail":
        raise BasetenOrphanedRequestError(
            "An earlier attempt of this task died while it sent its request, so Baseten may be running it under an id "
            "that nobody knows. Look at the queue of the deployment, then clear the task to send it again.",
            may_have_run=True,
        )
    return Plan("send")


class Ledger(Protocol):
    """Keeps one entry for each task instance, whatever its try number."""

    def read(self) -> Entry | None:
        """Return the entry."""

    def write(self, entry: Entry) -> None:
        """Replace the entry."""

    def delete(self) -> None:
        """Forget the entry: what it records is over and may be sent again."""


def open_ledger(context: "Context", store: ResultStore, *, durable: bool) -> Ledger:
    """Return the ledger of a task instance.

    In the task state store of Airflow 3.3 and newer, otherwise in the result store.

    :param durable: false for one that forgets.
    """
    if not durable:
        return _Forgetful()
    task_states: Any = context.get("task_state_store")
    if task_states is not None:
        return _InTaskStates(task_states)
    ti: Any = context["ti"]
    identity = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    return _InResultStore(store, hashlib.sha256(identity.encode()).hexdigest())


def intent(mark: str, max_tries: int) -> Entry:
    """Return the entry that is written before a request is sent."""
    return Entry(fingerprint=mark, max_tries=max_tries, at=time.time())


def write_persistently(book: Ledger, entry: Entry) -> None:
    """Replace the entry, and try for a minute: a request that was sent and is not recorded is paid for twice.

    :raises Exception: the last failure of the ledger, whatever Airflow or the store makes of it.
    """
    import tenacity

    wait, stop = tenacity.wait_exponential(multiplier=0.5, max=5), tenacity.stop_after_delay(_PERSISTENCE)
    tenacity.Retrying(wait=wait, stop=stop, reraise=True)(book.write, entry)


class _InTaskStates:
    def __init__(self, task_states: Any) -> None:
        self._task_states = task_states

    def read(self) -> Entry | None:
        return _entry(self._task_states.get(_KEY))

    def write(self, entry: Entry) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._task_states.set(_KEY, asdict(entry), retention=NEVER_EXPIRE)

    def delete(self) -> None:
        self._task_states.delete(_KEY)


class _InResultStore:
    def __init__(self, store: ResultStore, name: str) -> None:
        self._store = store
        self._name = f"ledger/{name}"

    def read(self) -> Entry | None:
        body = self._store.read(self._name)
        try:
            return None if body is None else _entry(json.loads(body))
        except ValueError:
            raise BasetenResultStoreError(
                f"The record of what this task has sent, {self._name} in {self._store.uri}, is damaged. Delete it if "
                "the task may send its request again."
            ) from None

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


def _entry(value: Any) -> Entry | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.keys() != Entry.__annotations__.keys():
        raise ValueError("not an entry")
    return Entry(**value)
