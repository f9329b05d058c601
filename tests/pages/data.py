"""Records for the pages, and task instances in Airflow's database that have them."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_baseten.activity.records import (
    AsyncRequestRecord,
    BulkJobRecord,
    FailureRecord,
    Histogram,
    History,
    JobProgress,
    Record,
    UsageRecord,
)

MODEL = "model abcd1234 (environment production)"
PAGE = "https://app.baseten.co/models/abcd1234/overview"
MESSAGE = "predict of model abcd1234 returned 500: The model raised an error (request id 5c5a). Check the model's log."
LATENCIES = Histogram(up_to=[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0], counts=[3, 20, 160, 410, 95, 12, 2])


def job(now: float, rows: int = 63_250, total: int | None = 100_000, **fields: Any) -> BulkJobRecord:
    """A bulk job that has run for ten minutes."""
    failed = fields.pop("failed", 12)
    concurrency = fields.pop("concurrency", 64)
    limits = [min(64, 4 + 2 * step) for step in range(60)]
    history = History(
        at=[now - 600 + 10 * step for step in range(60)],
        concurrency=limits,
        rows_per_second=[3.2 * limit for limit in limits],
    )
    progress = JobProgress(
        rows=rows,
        total=total,
        at_least=total or rows + 500,
        failed=failed,
        errors={"BasetenModelError": failed - failed // 4, "BasetenTimeoutError": failed // 4} if failed else {},
        rows_per_second=fields.pop("rows_per_second", 204.8),
        concurrency=concurrency,
        eta_seconds=fields.pop("eta_seconds", 180.0),
        latencies=LATENCIES,
    )
    shown: dict[str, Any] = {
        "target": MODEL,
        "page": PAGE,
        "output_path": "s3://results/embeddings",
        "started_at": now - 600,
        "updated_at": now - 3,
        "history": history,
    }
    return BulkJobRecord(progress=progress, **shown | fields)


def request(now: float, status: str = "queued", age: float = 300.0, **fields: Any) -> AsyncRequestRecord:
    """An async request."""
    shown: dict[str, Any] = {
        "target": MODEL,
        "page": PAGE,
        "request_ids": [uuid.UUID(int=int(age * 1000)).hex],
        "requests": 1,
        "statuses": {status: 1},
        "sent_at": now - age,
        "updated_at": now - 5,
        "running_at": now - age / 3 if status == "in progress" else None,
        "deadline": now - age + 3600,
    }
    return AsyncRequestRecord(**shown | fields)


def usage(now: float, **fields: Any) -> UsageRecord:
    """What a task has used."""
    shown: dict[str, Any] = {"target": MODEL, "page": PAGE, "at": now, "requests": 1}
    return UsageRecord(**shown | fields)


def failure(now: float, message: str = MESSAGE, **fields: Any) -> FailureRecord:
    """The failure of a task."""
    shown: dict[str, Any] = {
        "target": MODEL,
        "page": PAGE,
        "at": now,
        "type": "BasetenModelError",
        "message": message,
        "request_id": "5c5a2d1e8f904b7c",
        "status": 500,
    }
    return FailureRecord(**shown | fields)


@dataclass
class Task:
    """A task instance with its records, or with other XComs by their keys."""

    dag_id: str
    task_id: str
    state: str | None
    records: Iterable[Record] = ()
    map_index: int = -1
    run_id: str = "manual__2026-11-28T20:00:00+00:00"
    try_number: int = 1
    # When its records were written.
    at: float | None = None
    values: dict[str, Any] = field(default_factory=dict)


def insert(session: Any, tasks: Iterable[Task], now: float) -> None:
    """Insert task instances with their DAGs and runs."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import insert, select

    tasks = list(tasks)
    if not tasks:
        return
    if session.get(DagBundleModel, "pages") is None:
        session.add(DagBundleModel(name="pages"))
        session.flush()
    at = datetime.fromtimestamp(now, UTC)
    bundles = dict(session.execute(select(DagModel.dag_id, DagModel.bundle_name)).all())
    taken = sorted(task.dag_id for task in tasks if bundles.get(task.dag_id, "pages") != "pages")
    assert not taken, f"other tests of the session have DAGs with the ids {taken}, so delete_all would leave theirs"
    dags = {task.dag_id for task in tasks} - bundles.keys()
    if dags:
        common = {"is_paused": False, "is_stale": False, "max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0}
        common |= {"bundle_name": "pages", "has_task_concurrency_limits": False, "fileloc": "d.py"}
        session.execute(insert(DagModel.__table__), [common | {"dag_id": dag_id} for dag_id in sorted(dags)])
    known = {(dag, run) for dag, run in session.execute(select(DagRun.dag_id, DagRun.run_id))}
    runs = sorted({(task.dag_id, task.run_id) for task in tasks} - known)
    for dag_id, run_id in runs:
        session.add(DagRun(dag_id=dag_id, run_id=run_id, run_type="manual", run_after=at, start_date=at))
    session.flush()
    numbers = {(dag, run): id_ for id_, dag, run in session.execute(select(DagRun.id, DagRun.dag_id, DagRun.run_id))}
    instances = [
        {
            "dag_id": task.dag_id,
            "task_id": task.task_id,
            "run_id": task.run_id,
            "map_index": task.map_index,
            "state": task.state,
            "try_number": task.try_number,
            "pool": "default_pool",
            "pool_slots": 1,
            "start_date": at,
            "end_date": None if task.state in {"running", "deferred"} else at,
        }
        for task in tasks
    ]
    session.execute(insert(TaskInstance.__table__), instances)
    xcoms = [
        {
            "dag_run_id": numbers[task.dag_id, task.run_id],
            "dag_id": task.dag_id,
            "task_id": task.task_id,
            "run_id": task.run_id,
            "map_index": task.map_index,
            "key": key,
            "value": value,
            "timestamp": datetime.fromtimestamp(task.at or now, UTC),
        }
        for task in tasks
        for key, value in {**{record.key: plain(record) for record in task.records}, **task.values}.items()
    ]
    if xcoms:
        session.execute(insert(XComModel.__table__), xcoms)
    session.commit()


def delete_all(session: Any) -> None:
    """Delete the DAGs of :func:`insert`, with their runs."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete, select

    dags = list(session.scalars(select(DagModel.dag_id).where(DagModel.bundle_name == "pages")))
    for model in (XComModel, TaskInstance, DagRun, DagModel):
        session.execute(delete(model.__table__).where(model.__table__.c.dag_id.in_(dags)))
    # Tests before have left records of their own, and nobody needs them any more.
    kinds = (BulkJobRecord, AsyncRequestRecord, UsageRecord, FailureRecord)
    session.execute(delete(XComModel.__table__).where(XComModel.__table__.c.key.in_(kind.key for kind in kinds)))
    # Otherwise Airflow warns that the bundle is not configured, in a test that comes later.
    session.execute(delete(DagBundleModel.__table__).where(DagBundleModel.__table__.c.name == "pages"))
    session.commit()


def plain(record: Record) -> Any:
    """The value of a record as Airflow's API stores it."""
    return json.loads(json.dumps(record.as_value()))


def running(now: float) -> list[Task]:
    """A scene with everything."""
    day = 86_400
    tasks = [
        Task("product_embeddings", "embed", "running", [job(now)]),
        Task(
            "support_tickets",
            "summarize",
            "success",
            [
                job(
                    now,
                    20_000,
                    20_000,
                    failed=0,
                    ended=True,
                    eta_seconds=0.0,
                    concurrency=0,
                    started_at=now - 1500,
                    updated_at=now - 900,
                )
            ],
            at=now - 900,
        ),
        Task("transcripts", "transcribe", "deferred", [request(now, "in progress", 2400)]),
    ]
    shards = (
        (25_000, "success", True),
        (21_400, "running", False),
        (19_870, "running", False),
        (4_100, "running", False),
    )
    for index, (rows, state, ended) in enumerate(shards):
        record = job(now, rows, 25_000, failed=index, ended=ended, eta_seconds=60.0 * index, shard=index, num_shards=4)
        tasks.append(Task("catalogue", "classify", state, [record], map_index=index))
    for index in range(6):
        status = "in progress" if index < 2 else "queued"
        tasks.append(Task("images", "render", "deferred", [request(now, status, 60.0 + 11 * index)], map_index=index))
    messages = [
        ("BasetenTimeoutError", "predict of model abcd1234 did not respond within 300 s. Set a longer timeout.", None),
        ("BasetenModelError", MESSAGE, 500),
    ]
    for index, (kind, message, status) in enumerate(messages):
        at = now - 1700 - 4000 * index
        record = failure(at, message, type=kind, status=status)
        tasks.append(Task("support_tickets", f"answer_{index}", "failed", [record], at=at, try_number=2))
    for days in range(4):
        for dag, tokens, cost in (("support_tickets", 182_400, 0.41), ("product_embeddings", 0, None)):
            at = now - days * day
            record = usage(
                at,
                requests=400 + days,
                rows=None if tokens else 40_000,
                tokens={"total_tokens": tokens} if tokens else {},
                cost_usd=cost,
            )
            tasks.append(Task(dag, "done", "success", [record], run_id=f"scheduled__{days}", at=at))
    return tasks


def failed(now: float) -> list[Task]:
    """A bulk job that has failed, with nothing that runs."""
    records = [
        job(now, 4_200, failed=4_200, ended=True, concurrency=0, eta_seconds=None, updated_at=now - 30),
        failure(now - 30, "No row of the run succeeded: 4,200 rows failed, 4,200 with BasetenModelError."),
    ]
    return [Task("product_embeddings", "embed", "failed", records)]


def long_names(now: float) -> list[Task]:
    """Tasks whose ids are as long as Airflow allows."""
    dag_id, task_id = "d" * 250, "t" * 250
    mixed = request(now, target=f"model {'m' * 200}", requests=9, statuses={"queued": 4, "result received": 5})
    return [
        Task(dag_id, task_id, "running", [job(now)]),
        Task(dag_id, f"{task_id[1:]}w", "deferred", [mixed]),
        Task(dag_id, f"{task_id[1:]}e", "success", [job(now, ended=True), usage(now)]),
        Task(dag_id, f"{task_id[1:]}f", "failed", [failure(now, "e" * 500, type="X" * 120)]),
    ]


def waiting(now: float, tasks: int = 10_000, jobs: int = 200) -> list[Task]:
    """Many async requests, and many bulk jobs."""
    statuses = ("queued", "queued", "queued", "in progress")
    found = [
        Task(
            f"requests_{index % 20}",
            "render",
            "deferred",
            [request(now, statuses[index % 4], 60.0 + index)],
            map_index=index // 20,
        )
        for index in range(tasks)
    ]
    found += [Task(f"jobs_{index}", "embed", "running", [job(now, 40_000 + index)]) for index in range(jobs)]
    return found
