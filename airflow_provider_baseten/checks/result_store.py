"""Result store: whether this process can write, read and delete a file in it."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from airflow_provider_baseten.checks.result import CheckResult, failed, ok
from airflow_provider_baseten.checks.time_limit import within
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.result_store import ResultStore

_NAME = "result store"
_SECONDS = 20.0
_BODY = b'{"written by": "airflow baseten check"}'


@dataclass(frozen=True, slots=True)
class StoreState:
    """Result of writing, reading and deleting a file.

    :param uri: URI of the store.
    :param is_local: whether the store is a folder of this machine.
    :param problem: error of the access that failed; empty if all succeeded.
    """

    uri: str
    is_local: bool
    problem: str = ""


def observe_store(store: ResultStore) -> StoreState:
    """Write a file to the store, read it back and delete it. Each access ends after 20 seconds.

    A file that is written later than that is deleted then, if this process still runs.
    """
    name = f"airflow-check-{uuid4().hex}.json"
    is_local = files.local_path(store.uri) is not None
    problem = _problem(
        lambda: store.write(name, _BODY),
        undo=lambda: store.remove(name),
        late=f" If {store.uri_of(name)} appears later, delete it.",
    )
    if problem:
        return StoreState(store.uri, is_local, problem)
    found: list[bytes | None] = []
    problem = _problem(lambda: found.append(store.read(name)))
    if not problem and found != [_BODY]:
        problem = f"{store.uri_of(name)} was written, but is not there, or not the same, when it is read."
    left = _problem(lambda: store.remove(name))
    return StoreState(store.uri, is_local, problem or left)


def judge_store(state: StoreState) -> CheckResult:
    """Judge whether the store can be used from here."""
    if state.problem:
        return failed(
            _NAME,
            f"The result store {state.uri} can't be used: {state.problem}",
            "Check that the folder exists on a disk with space, and the rights of this process's user."
            if state.is_local
            else "Check the URI, the network to the storage, the Airflow connection in the URI and its rights to "
            "write, read and delete, and that the provider of the storage is installed.",
        )
    return ok(
        _NAME,
        f"A file was written to {state.uri}, read and deleted.",
        "This is a local folder: it is right only if all of Airflow runs on this machine, or if the folder is mounted "
        "on all machines. Otherwise set a shared one, in the connection or in [baseten] result_store."
        if state.is_local
        else "",
    )


def _problem(access: Callable[[], object], undo: Callable[[], object] = lambda: None, late: str = "") -> str:
    try:
        within(_SECONDS, access, undo)
    except BasetenResultStoreError as error:
        return str(error)
    except TimeoutError as error:
        return f"{error}.{late}"
    return ""
