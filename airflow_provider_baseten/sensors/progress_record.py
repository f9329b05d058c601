"""Record of the progress of a sensor, for its next poke, which may run in another process."""

from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.compat import task_state_store
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.progress import WaitProgress

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.storage.result_store import ResultStore

_KEY = "baseten_sensor_progress"


class ProgressRecord:
    """Keeps the progress of a wait between two pokes of one attempt.

    Airflow 3.3 and newer has a task state store for the record. With an older Airflow, the record is in the result
    store. If the record can't be read or written, only a warning is logged, because the wait works without a record.
    Without a record, the next poke repeats the status calls of earlier pokes, and a request that looks lost gets
    another full minute before it counts as lost.

    :param context: context of the task.
    :param store: the result store.
    :param log: log of the task.
    """

    def __init__(self, context: "Context", store: "ResultStore", log: Log) -> None:
        ti: Any = context["ti"]
        self._attempt = getattr(ti, "try_number", None)
        self._states: Any = task_state_store(context)
        self._store = store
        self._name = f"sensors/{identity_of(context).key}"
        self._log = log

    def load(self) -> WaitProgress:
        """Return the progress of this attempt. It is empty if there is only a record of an earlier attempt."""
        try:
            value = self._states.get(_KEY) if self._states is not None else self._read()
            if value is None or value["attempt"] != self._attempt:
                return WaitProgress()
            return WaitProgress(
                {k: float(v) for k, v in value["doubtful_since"].items()},
                frozenset(value["succeeded"]),
                value.get("began"),
                value.get("logged"),
            )
        except Exception as error:  # The record may be damaged, or a later version of Airflow may raise other errors.
            self._warn("read", error)
            return WaitProgress()

    def save(self, progress: WaitProgress) -> None:
        """Write the progress in place of the recorded one."""
        value = {
            "attempt": self._attempt,
            "doubtful_since": {**progress.doubtful_since},
            "succeeded": sorted(progress.succeeded),
            "began": progress.began,
            "logged": progress.logged,
        }
        try:
            if self._states is not None:
                self._states.set(_KEY, value)
            else:
                self._store.write(self._name, exact_json.encode(value))
        except Exception as error:
            self._warn("written", error)

    def _read(self) -> Any:
        body = self._store.read(self._name)
        return None if body is None else exact_json.decode(body)

    def _warn(self, what: str, error: Exception) -> None:
        words = str(error) if isinstance(error, BasetenResultStoreError) else type(error).__name__
        self._log.warning("The progress of earlier pokes could not be %s: %s", what, words)
