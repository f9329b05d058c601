"""What is read from Airflow's database, with how many queries, and in which time."""

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from airflow_provider_baseten.pages.jobs import Job, read_job
from airflow_provider_baseten.pages.overview import Overview, read_overview
from airflow_provider_baseten.pages.requests import TaskWait
from airflow_provider_baseten.pages.rows import TaskKey
from tests.browser import lacks
from tests.cluster.services import missing_packages, postgresql
from tests.pages import data

pytestmark = pytest.mark.airflow

# As the docstring of `pages/queries.py` says.
MENU_QUERIES = 7
TASK_QUERIES = 2
# For a test on a machine that does other work too; measured are 0.2 s.
SECONDS = 3.0


@pytest.fixture(scope="module")
def postgresql_url(tmp_path_factory) -> Iterator[str]:
    if "postgresql" in missing_packages():
        lacks("PostgreSQL is not installed")
    with postgresql(tmp_path_factory.mktemp("postgresql") / "log") as server:
        yield server.url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.cluster, pytest.mark.processes])])
def session(request, tmp_path) -> Iterator[Session]:
    """A session on a database of each kind, with Airflow's tables, which are empty."""
    from airflow import models
    from airflow.models.base import Base

    models.import_all_models()
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/airflow.db" if is_sqlite else request.getfixturevalue("postgresql_url")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    Base.metadata.drop_all(engine)
    engine.dispose()


@contextmanager
def counted(session: Session) -> Iterator[list[str]]:
    """The statements that a block sends."""
    statements: list[str] = []

    def note(connection, cursor, statement, *others):
        statements.append(statement)

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def read(session: Session, dag_ids, now: float) -> Overview:
    from airflow_provider_baseten.pages.queries import Queries

    with counted(session) as statements:
        page = read_overview(Queries(session, dag_ids, now), now)
    assert len(statements) == MENU_QUERIES
    return page


class TestMenuPage:
    def test_a_scene_with_everything(self, session):
        now = time.time()
        tasks = data.running(now)
        data.insert(session, tasks, now)
        page = read(session, {task.dag_id for task in tasks}, now)
        assert {read_job(job, now).key.dag_id for job in page.running_jobs} == {"product_embeddings", "catalogue"}
        assert [(job.key.dag_id, job.state) for job in page.ended_jobs] == [("support_tickets", "finished")]
        assert page.waits.by_status == [("queued", "4"), ("in progress", "3")]
        assert [wait.task.key.dag_id for wait in page.waits.oldest] == ["transcripts", *["images"] * 6]
        assert [failure.type for failure in page.failures] == ["BasetenTimeoutError", "BasetenModelError"]
        assert page.failed_tasks == 2
        used = {(used.dag_id, used.days_ago): used for used in page.usage}
        assert {days for _, days in used} == {0, 1, 2, 3}
        assert (used["support_tickets", 0].tokens, used["support_tickets", 0].cost_usd) == (182_400, 0.41)
        assert used["support_tickets", 0].rows is None
        assert (used["product_embeddings", 2].rows, used["product_embeddings", 2].cost_usd) == (40_000, None)

    def test_dags_that_the_user_may_not_read_are_left_out(self, session):
        now = time.time()
        data.insert(session, data.running(now), now)
        page = read(session, {"transcripts"}, now)
        assert (page.jobs, page.usage, page.failures, page.failed_tasks) == ([], [], [], 0)
        assert page.waits.tasks == len(page.waits.oldest) == 1

    def test_a_job_that_has_ended_is_shown_for_an_hour(self, session):
        now = time.time()
        ended = [
            data.Task("d", f"{state}_{minutes}", state, [data.job(now, ended=True)], at=now - 60 * minutes)
            for state in ("success", "failed", "up_for_retry", None)
            for minutes in (5, 90)
        ]
        data.insert(session, ended, now)
        page = read(session, {"d"}, now)
        assert {read_job(job, now).key.task_id for job in page.jobs} == {
            "success_5",
            "failed_5",
            "up_for_retry_5",
            "None_5",
        }

    def test_records_of_tasks_that_do_not_wait_any_more_are_not_shown_as_waiting(self, session):
        now = time.time()
        states = ("success", "failed", "up_for_retry", None, "deferred", "up_for_reschedule", "running")
        data.insert(session, [data.Task("d", f"{state}", state, [data.request(now)]) for state in states], now)
        page = read(session, {"d"}, now)
        waiting = {wait.task.key.task_id for wait in page.waits.oldest}
        assert waiting == {"deferred", "up_for_reschedule", "running"}
        assert page.waits.tasks == 3

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text",
            [1],
            {"sent_at": "now", "statuses": "queued"},
            {"requests": "many", "tokens": {"total_tokens": [1]}, "rows": {}, "cost_usd": "free"},
            {"requests": 10**12, "tokens": {"total_tokens": 10**12}},
            {"requests": 1e300, "tokens": {"total_tokens": "9e999"}, "rows": 10**400, "cost_usd": -1e300},
            {"sent_at": 1e300, "statuses": {"queued": 10**400}},
            {"sent_at": -1e18, "statuses": {"queued": -5}},
        ],
    )
    def test_what_is_not_a_record_harms_nothing(self, session, value):
        now = time.time()
        keys = ("baseten_bulk_job", "baseten_async_request", "baseten_usage", "baseten_failure")
        data.insert(session, [data.Task("d", "bad", "running", values=dict.fromkeys(keys, value))], now)
        data.insert(session, [data.Task("d", "good", "running", [data.job(now), data.request(now)])], now)
        page = read(session, {"d"}, now)
        assert [read_job(job, now).key.task_id for job in page.jobs] == ["good"]
        assert [wait.task.key.task_id for wait in page.waits.oldest] == ["good"]
        shown = f"{page.tiles} {page.days} {page.waits.by_status} {page.waits.by_dag} {page.waits.longest}"
        assert "inf" not in shown
        assert "-" not in shown

    def test_ten_thousand_waiting_tasks_and_two_hundred_jobs(self, session):
        now = time.time()
        tasks = data.waiting(now)
        data.insert(session, tasks, now)
        dag_ids = {task.dag_id for task in tasks}
        times = []
        for _ in range(5):
            began = time.perf_counter()
            page = read(session, dag_ids, now)
            times.append(time.perf_counter() - began)
        assert (page.waits.tasks, len(page.waits.oldest), len(page.running_jobs)) == (10_000, 50, 200)
        assert page.waits.by_status == [("queued", "7,500"), ("in progress", "2,500")]
        assert statistics.median(times) < SECONDS

    @pytest.mark.parametrize("session", ["sqlite"], indirect=True)
    def test_a_request_holds_few_objects_that_the_garbage_collector_tracks(self, session, monkeypatch):
        """With many, full collections of the API server, of a third of a second each, would often be in a request."""
        from airflow_provider_baseten.pages.app import _page

        now = time.time()
        tasks = data.waiting(now)
        data.insert(session, tasks, now)
        dag_ids = {task.dag_id for task in tasks}
        numbers: list[int] = []

        def count_objects(line):
            numbers.append(len(gc.get_objects()))
            return "url"

        for kind in (Job, TaskWait):
            monkeypatch.setattr(kind, "airflow_url", property(count_objects))
        # The first time also fills caches of SQLAlchemy and Jinja.
        for _ in range(2):
            numbers.clear()
            gc.collect()
            before = len(gc.get_objects())
            page = read(session, dag_ids, now)
            gc.collect()
            _page("overview.html", page)
            del page
        assert len(numbers) == 250
        assert max(numbers) - before < 1000

    def test_failures_are_limited_before_their_tasks_are_looked_up(self, session):
        now = time.time()
        tasks = [data.Task(f"d{index % 20}", "t", "success", map_index=index // 20) for index in range(50_000)]
        for index in range(10_000):
            record = data.failure(now, request_id=f"{index}")
            tasks.append(data.Task(f"d{index % 20}", "f", "failed", [record], map_index=index // 20, at=now - index))
        data.insert(session, tasks, now)
        from airflow_provider_baseten.pages.queries import Queries

        queries = Queries(session, {task.dag_id for task in tasks}, now)
        began = time.perf_counter()
        failures = queries.failures()
        assert time.perf_counter() - began < SECONDS / 10
        assert [failure.record.request_id for failure in failures] == [f"{index}" for index in range(20)]

    # PostgreSQL plans by the sizes of its tables.
    @pytest.mark.parametrize("session", ["sqlite"], indirect=True)
    def test_active_tasks_are_not_looked_up_among_all_that_was_ever_recorded(self, session):
        now = time.time()
        data.insert(session, data.running(now), now)
        from airflow_provider_baseten.pages.queries import Queries

        queries = Queries(session, {"catalogue", "images"}, now)
        for function in (queries.active_jobs, queries.oldest_requests, queries.request_groups):
            plan = []

            def explain(connection, cursor, statement, parameters, context, many, plan=plan):
                other = connection.connection.cursor()
                plan += [row[-1] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]

            event.listen(session.get_bind(), "before_cursor_execute", explain)
            function()
            event.remove(session.get_bind(), "before_cursor_execute", explain)
            assert plan[0].startswith("SEARCH task_instance USING INDEX ti_"), plan
            assert any("xcom USING INDEX sqlite_autoindex_xcom" in step for step in plan), plan


class TestTaskPage:
    @pytest.mark.parametrize(("map_index", "rows"), [(0, 25_000), (3, 4_100)])
    def test_a_mapped_task(self, session, map_index, rows):
        from airflow_provider_baseten.pages.queries import task_records

        now = time.time()
        tasks = data.running(now)
        data.insert(session, tasks, now)
        with counted(session) as statements:
            task, values = task_records(session, TaskKey("catalogue", tasks[0].run_id, "classify", map_index))
        assert len(statements) == TASK_QUERIES
        assert task.state in {"running", "success"}
        assert values["baseten_bulk_job"]["progress"]["rows"] == rows

    def test_a_task_that_does_not_exist(self, session):
        from airflow_provider_baseten.pages.queries import task_records

        assert task_records(session, TaskKey("d", "r", "t")) == (None, {})
