"""Queries of Airflow's database for the pages.

The menu page makes seven queries and the page of a task two, besides those of Airflow's auth manager. Each query
returns a bounded number of rows, whatever is in the database:

- Lists of active tasks begin with the indexes on ``task_instance.state``, and find the record of each task through the
  primary key of ``xcom``. Their cost does not depend on how many runs the database keeps.
- Failures, usage and jobs that have ended begin with the index on ``xcom.key``. Airflow's ``airflow db clean`` bounds
  these records. Sums are made of the newest 20,000 records of usage.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB

from airflow_provider_baseten.activity.records import (
    MAX_NUMBER,
    AsyncRequestRecord,
    BulkJobRecord,
    FailureRecord,
    RecordT,
    UsageRecord,
    decode_record,
)
from airflow_provider_baseten.compat.server import DagRun, TaskInstance, XComModel
from airflow_provider_baseten.pages.jobs import MAX_JOBS
from airflow_provider_baseten.pages.requests import MAX_GROUPS
from airflow_provider_baseten.pages.rows import (
    ACTIVE_STATES,
    WORKING_STATES,
    DayUsage,
    RequestGroup,
    StoredJob,
    TaskKey,
    TaskRow,
    read_stored,
)
from airflow_provider_baseten.pages.usage import MAX_USAGE_RECORDS, USAGE_DAYS

#: Largest number of rows of each list, beside those that the imported names limit.
MAX_ENDED_JOBS = 20
MAX_REQUESTS = 50
MAX_FAILURES = 20
MAX_DAY_USAGES = 2000

#: Time after its end for which a bulk job is shown.
ENDED_SECONDS = 3600.0
#: Time over which failures are counted.
FAILURE_SECONDS = 86_400.0

_TASK = (
    TaskInstance.dag_id,
    TaskInstance.run_id,
    TaskInstance.task_id,
    TaskInstance.map_index,
    TaskInstance.state,
    TaskInstance.try_number,
)
_KEY = ("dag_id", "run_id", "task_id", "map_index")


class Queries:
    """The queries of one request for a page.

    :param session: SQLAlchemy session on Airflow's database.
    :param dag_ids: DAGs that the user may read.
    :param now: seconds since the epoch.
    """

    def __init__(self, session: Any, dag_ids: Collection[str], now: float) -> None:
        self._session = session
        self._dag_ids = dag_ids
        self._now = datetime.fromtimestamp(now, UTC)

    def active_jobs(self) -> list[StoredJob]:
        """Return the bulk jobs of active tasks; those that started last come first."""
        found = self._active(BulkJobRecord, WORKING_STATES)
        return self._jobs(found.order_by(TaskInstance.start_date.desc()).limit(MAX_JOBS))

    def ended_jobs(self) -> list[StoredJob]:
        """Return the bulk jobs that have ended in the last hour, the newest first."""
        since = self._now - timedelta(seconds=ENDED_SECONDS)
        found = _with_tasks(self._newest(BulkJobRecord).where(XComModel.timestamp >= since))
        has_ended = func.coalesce(TaskInstance.state, "").not_in(WORKING_STATES)
        return self._jobs(found.where(has_ended).limit(MAX_ENDED_JOBS))

    def oldest_requests(self) -> list[TaskRow[AsyncRequestRecord]]:
        """Return the active tasks that have waited longest for async requests, the oldest first."""
        sent_at = self._number(XComModel.value, "sent_at")
        return self._rows(
            self._active(AsyncRequestRecord, ACTIVE_STATES).order_by(sent_at).limit(MAX_REQUESTS), AsyncRequestRecord
        )

    def request_groups(self) -> list[RequestGroup]:
        """Return how many active tasks of each DAG wait for async requests with which statuses."""
        waiting = self._active(
            AsyncRequestRecord,
            ACTIVE_STATES,
            TaskInstance.dag_id,
            XComModel.value["statuses"].label("statuses"),
            self._number(XComModel.value, "sent_at").label("sent_at"),
        ).subquery()
        tasks = func.count()
        found = (
            select(waiting.c.dag_id, waiting.c.statuses, tasks, func.min(waiting.c.sent_at))
            .group_by(waiting.c.dag_id, waiting.c.statuses)
            .order_by(tasks.desc())
            .limit(MAX_GROUPS)
        )
        return [
            RequestGroup(dag_id, _counts(statuses), count, oldest)
            for dag_id, statuses, count, oldest in self._session.execute(found)
        ]

    def usage(self) -> list[DayUsage]:
        """Return what each DAG has used on each of the last days, from the newest records of usage."""
        midnight = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        starts = [midnight - timedelta(days=days) for days in range(USAGE_DAYS)]
        newest = (
            select(XComModel.dag_id, XComModel.timestamp, XComModel.value)
            .where(XComModel.key == UsageRecord.key, XComModel.timestamp >= starts[-1])
            .where(XComModel.dag_id.in_(self._dag_ids))
            .order_by(XComModel.timestamp.desc())
            .limit(MAX_USAGE_RECORDS)
            .subquery()
        )
        value = newest.c.value
        numbers = {name: self._number(value, name) for name in ("requests", "rows", "cost_usd")}
        tokens = (self._number(value, "tokens", f"{kind}_tokens") for kind in ("total", "prompt", "completion"))
        total, prompt, completion = tokens
        numbers["tokens"] = func.coalesce(total, func.coalesce(prompt, 0) + func.coalesce(completion, 0))
        read = select(
            newest.c.dag_id,
            case(*((newest.c.timestamp >= start, days) for days, start in enumerate(starts))).label("days_ago"),
            *(number.label(name) for name, number in numbers.items()),
        ).subquery()
        day = (read.c.dag_id, read.c.days_ago)
        sums = (func.sum(read.c[name]) for name in ("requests", "rows", "tokens", "cost_usd"))
        found = select(*day, func.count(), *sums).group_by(*day).order_by(day[1], day[0]).limit(MAX_DAY_USAGES)
        return [
            DayUsage(
                dag_id,
                days_ago,
                tasks,
                requests=round(requests or 0),
                rows=None if rows is None else round(rows),
                tokens=round(tokens or 0),
                cost_usd=None if cost is None else float(cost),
            )
            for dag_id, days_ago, tasks, requests, rows, tokens, cost in self._session.execute(found)
        ]

    def failures(self) -> list[TaskRow[FailureRecord]]:
        """Return the last failures of tasks, the newest first."""
        return self._rows(_with_tasks(self._newest(FailureRecord).limit(MAX_FAILURES)), FailureRecord)

    def count_failures(self) -> int:
        """Return the number of task instances that have failed within a day and were not run again."""
        since = self._now - timedelta(seconds=FAILURE_SECONDS)
        found = (
            select(func.count())
            .select_from(XComModel)
            .where(XComModel.key == FailureRecord.key, XComModel.timestamp >= since)
            .where(XComModel.dag_id.in_(self._dag_ids))
        )
        return int(self._session.scalar(found))

    def _active(self, kind: type[RecordT], states: Collection[str], *columns: Any) -> Select[Any]:
        """Return a query for the records of one kind that belong to tasks in some states."""
        return (
            select(*(columns or (*_TASK, cast(XComModel.value, Text))))
            .select_from(TaskInstance)
            .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
            # Neither by the DAG nor by the plain key: SQLite would begin with all XComs of the DAGs, or of the key,
            # that were ever recorded. The first columns of the primary key are enough to find the XComs of a task.
            .join(
                XComModel,
                and_(
                    XComModel.dag_run_id == DagRun.id,
                    XComModel.task_id == TaskInstance.task_id,
                    XComModel.map_index == TaskInstance.map_index,
                    XComModel.key.concat("") == kind.key,
                ),
            )
            .where(TaskInstance.state.in_(states), TaskInstance.dag_id.in_(self._dag_ids))
        )

    def _newest(self, kind: type[RecordT]) -> Select[Any]:
        """Return a query for the records of one kind, the newest first."""
        return (
            select(*(getattr(XComModel, name) for name in _KEY), XComModel.timestamp, XComModel.value)
            .where(XComModel.key == kind.key, XComModel.dag_id.in_(self._dag_ids))
            .order_by(XComModel.timestamp.desc())
        )

    def _jobs(self, found: Select[Any]) -> list[StoredJob]:
        jobs: Iterator[StoredJob] = map(tuple, self._session.execute(found))
        return [job for job in jobs if read_stored(job) is not None]

    def _rows(self, found: Select[Any], kind: type[RecordT]) -> list[TaskRow[RecordT]]:
        return [
            TaskRow(TaskKey(*key), state, try_number, record)
            for *key, state, try_number, text in self._session.execute(found)
            if (record := decode_record(kind, text)) is not None
        ]

    def _number(self, value: Any, *path: str) -> ColumnElement[float | None]:
        """Return the number at a path of a JSON column; NULL if there is none, or none that a record can have."""
        member = value[path]
        lowest, highest = 0, MAX_NUMBER
        if self._session.get_bind().dialect.name == "postgresql":
            # Only PostgreSQL fails at the conversion of what is not a number, or too large for one. As JSON, it is
            # outside of the limits.
            in_limits = member.between(cast(lowest, JSONB), cast(highest, JSONB))
        else:
            in_limits = member.as_float().between(lowest, highest)
        return case((in_limits, member.as_float()))


def _with_tasks(newest: Select[Any]) -> Select[Any]:
    """Return a query for records with their task instances, the newest first.

    :param newest: query for the records; its limit applies before task instances are looked up.
    """
    found = newest.subquery()
    same_task = and_(*(found.c[name] == getattr(TaskInstance, name) for name in _KEY))
    columns: tuple[Any, ...] = (*_TASK, cast(found.c.value, Text))
    return select(*columns).join_from(found, TaskInstance, same_task).order_by(found.c.timestamp.desc())


def task_records(session: Any, key: TaskKey) -> tuple[TaskRow[None] | None, dict[str, object]]:
    """Return a task instance and the values of its records by their keys; ``None`` if there is no such task instance.

    :param session: SQLAlchemy session on Airflow's database.
    """
    kinds = (BulkJobRecord, AsyncRequestRecord, UsageRecord, FailureRecord)
    of_task = (
        TaskInstance.dag_id == key.dag_id,
        TaskInstance.run_id == key.run_id,
        TaskInstance.task_id == key.task_id,
        TaskInstance.map_index == key.map_index,
    )
    found = session.execute(select(TaskInstance.state, TaskInstance.try_number).where(*of_task)).one_or_none()
    if found is None:
        return None, {}
    values = session.execute(
        select(XComModel.key, XComModel.value).where(
            XComModel.dag_id == key.dag_id,
            XComModel.run_id == key.run_id,
            XComModel.task_id == key.task_id,
            XComModel.map_index == key.map_index,
            XComModel.key.in_(kind.key for kind in kinds),
        )
    ).all()
    return TaskRow(key, found.state, found.try_number, None), {row.key: row.value for row in values}


def _counts(statuses: object) -> dict[str, int]:
    """Return the numbers of requests by status that a record has."""
    if not isinstance(statuses, dict):
        return {}
    return {str(status): count for status, count in statuses.items() if type(count) is int and 0 < count <= MAX_NUMBER}
