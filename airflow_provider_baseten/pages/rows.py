"""Rows that the pages are made from: records of task instances, and numbers that the database has summed up."""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from airflow_provider_baseten.activity.records import BulkJobRecord, Record, decode_record

#: States of task instances that run or wait.
ACTIVE_STATES = ("running", "deferred", "up_for_reschedule", "restarting")
#: Those of task instances that occupy a worker, as each bulk job does.
WORKING_STATES = ("running", "restarting")

RecordT_co = TypeVar("RecordT_co", bound=Record | None, covariant=True)


@dataclass(frozen=True, slots=True)
class TaskKey:
    """A task instance in the words of Airflow's URLs."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def label(self) -> str:
        """The task, with the map index of a mapped one."""
        return f"{self.task_id} [{self.map_index}]" if self.map_index >= 0 else self.task_id


@dataclass(frozen=True, slots=True)
class TaskRow(Generic[RecordT_co]):
    """A task instance with one of its records.

    :param state: Airflow's state of the task instance, for example ``up_for_retry``; ``None`` after a clear.
    :param try_number: number of the attempt.
    """

    key: TaskKey
    state: str | None
    try_number: int
    record: RecordT_co

    @property
    def is_active(self) -> bool:
        """Whether the task runs or waits."""
        return self.state in ACTIVE_STATES


#: A task instance with the record of its bulk job as JSON text: fields of its key, Airflow's state, number of the
#: attempt, text. The records of 200 jobs are thousands of objects for Python's garbage collector, and a full collection
#: of the API server takes longer than the rest of a request. So a record is read when its job is shown, and freed then.
#: Unlike an instance of a class, a tuple of text and numbers is no such object.
StoredJob: TypeAlias = tuple[str, str, str, int, str | None, int, str]


def read_stored(stored: StoredJob) -> TaskRow[BulkJobRecord] | None:
    """Return a task instance with the record of its bulk job; ``None`` if the text is not a record."""
    dag_id, run_id, task_id, map_index, state, try_number, text = stored
    record = decode_record(BulkJobRecord, text)
    return None if record is None else TaskRow(TaskKey(dag_id, run_id, task_id, map_index), state, try_number, record)


@dataclass(frozen=True, slots=True)
class RequestGroup:
    """Waiting tasks of one DAG whose async requests have the same statuses.

    :param statuses: number of requests of one task by status.
    :param tasks: number of such tasks.
    :param oldest_at: when the first of them was sent, in seconds since the epoch.
    """

    dag_id: str
    statuses: dict[str, int]
    tasks: int
    oldest_at: float | None


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What the tasks of one DAG have used on one day.

    :param days_ago: 0 for today, in UTC.
    :param tasks: number of tasks that have succeeded.
    :param rows: number of rows; ``None`` if no task had rows.
    :param cost_usd: US dollars; ``None`` if no task has recorded a price.
    """

    dag_id: str
    days_ago: int
    tasks: int
    requests: int
    rows: int | None
    tokens: int
    cost_usd: float | None
