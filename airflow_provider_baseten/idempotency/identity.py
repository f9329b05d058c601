"""Identity of a task instance: the names under which all its attempts find the same records."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.compat import clear_count

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, slots=True)
class Identity:
    """The fields of a task instance that all its attempts share.

    :param name: hash of DAG id, run id, task id and map index. If a run is deleted and created again with the same id,
        the name stays the same. So the new run finds the request of the deleted run, and can cancel it.
    :param run: start time of the run, ``None`` if the context has no run. It differs between a deleted run and a new
        run with the same id, so that the new run does not get the output of the deleted run. If tasks of a finished
        run are cleared, Airflow changes the start time of that run. This does no harm, because a cleared task sends
        a new request anyway.
    :param max_tries: Airflow's ``max_tries``. A retry does not change this number, so a retry uses the request
        of an earlier attempt. A clear raises the number, so a cleared task sends a new request.
    """

    name: str
    run: str | None
    max_tries: int

    @property
    def key(self) -> str:
        """Hash that is the same for all attempts of this task instance in this run, and for no others."""
        return _hash(self.name, self.run)

    @property
    def key_until_clear(self) -> str:
        """Hash that is the same for all attempts of this task instance in this run, until the task is cleared."""
        return _hash(self.name, self.run, self.max_tries)

    def request_key(self, fingerprint: str) -> str:
        """Return a hash that is the same for all attempts until the task is cleared or its input changes.

        :param fingerprint: fingerprint of the request.
        """
        return _hash(self.name, self.run, self.max_tries, fingerprint)


def identity_of(context: "Context") -> Identity:
    """Return the identity of the task instance that runs in a context.

    A task does not know the primary key of its run in Airflow's database, so the start time of the run identifies it. A
    scheduled run that is created again has the same id, dates and data interval, but another start time.

    :param context: context of the task. If it has no ``dag_run``, the identity has no start time.
    """
    ti: Any = context["ti"]
    started = getattr(context.get("dag_run"), "start_date", None)
    return Identity(
        name=_hash(ti.dag_id, ti.run_id, ti.task_id, ti.map_index),
        run=None if started is None else started.astimezone(UTC).isoformat(),
        max_tries=clear_count(ti),
    )


def _hash(*fields: str | int | None) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
