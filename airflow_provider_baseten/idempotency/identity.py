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

    :param name: hash of DAG id, run id, task id and map index. A run that was deleted and made again under its id has
        the same one, so that the request of the deleted run is found, and cancelled instead of paid beside the new one.
    :param run: the start of the run, which tells it from another run under the same id: without it the new run would
        be given the output of the deleted one. ``None`` where the context does not hold it. Airflow changes the start
        when it restarts a run that had ended, and it does so only for tasks that are cleared.
    :param max_tries: Airflow's, which a clear raises and a retry leaves as it is: so a retry uses what an earlier
        attempt has paid, and a cleared task runs again.
    """

    name: str
    run: str | None
    max_tries: int

    @property
    def key(self) -> str:
        """Hash that only the attempts of this task instance in this run share."""
        return _hash(self.name, self.run)

    @property
    def key_until_clear(self) -> str:
        """Hash that only these attempts share, and only until the task is cleared."""
        return _hash(self.name, self.run, self.max_tries)

    def request_key(self, fingerprint: str) -> str:
        """Return a hash that only attempts at the same request share: until the task is cleared or its input changes.

        :param fingerprint: of the request.
        """
        return _hash(self.name, self.run, self.max_tries, fingerprint)


def identity_of(context: "Context") -> Identity:
    """Return the identity of the task instance that runs in a context.

    A task does not know the key of its run in Airflow's database. The start of the run stands for it: a scheduled run
    that is made again has the same id, dates and data interval, but another start.

    :param context: of the task; without ``dag_run`` the run is not known.
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
