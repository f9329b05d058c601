"""The identity of a task instance: what its records are kept under, and which run of that name it belongs to."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same over all attempts of a task instance.

    :param name: hash of DAG id, run id, task id and map index. A run that was deleted and made again under its id has
        the same one.
    :param run: which run of that id it is; ``None`` where the context does not say. Airflow changes it when it starts
        a run that had ended again, which it does for tasks that are cleared and therefore run anew anyway.
    """

    name: str
    run: str | None

    @property
    def key(self) -> str:
        """Hash that only attempts of this task instance, in this very run, share."""
        return hashlib.sha256(json.dumps([self.name, self.run]).encode()).hexdigest()


def identity_of(context: "Context") -> Identity:
    """Return the identity of the task instance that runs in a context.

    Tasks are not told the key of their run in Airflow's database. The time at which the run started stands for it: a
    scheduled run that is made again has the same id, dates and data interval, but starts at another time.

    :param context: of the task; without ``dag_run`` the run is not known.
    """
    ti: Any = context["ti"]
    dag_run: Any = context.get("dag_run")
    started = getattr(dag_run, "start_date", None)
    place = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    return Identity(
        name=hashlib.sha256(place.encode()).hexdigest(),
        run=None if started is None else started.astimezone(UTC).isoformat(),
    )
