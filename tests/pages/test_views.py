"""What the pages show, made from rows without a database."""

import json
from dataclasses import replace

import pytest

from airflow_provider_baseten.pages.failures import TaskFailure
from airflow_provider_baseten.pages.jobs import Job, group_jobs, read_job
from airflow_provider_baseten.pages.overview import Overview
from airflow_provider_baseten.pages.places import airflow_task, task_page, web_page
from airflow_provider_baseten.pages.requests import TaskWait, Waits, status_words
from airflow_provider_baseten.pages.rows import DayUsage, RequestGroup, TaskKey, TaskRow
from airflow_provider_baseten.pages.task_view import make_task_view
from airflow_provider_baseten.pages.usage import usage_days
from tests.pages import data

NOW = 1_795_899_600.0  # 2026-11-28 21:00:00 UTC


def row(record, state="running", map_index=-1, task_id="t"):
    return TaskRow(TaskKey("d", "r", task_id, map_index), state, 1, record)


def stored(record, state="running", map_index=-1, task_id="t"):
    return "d", "r", task_id, map_index, state, 1, json.dumps(data.plain(record))


class TestJob:
    def test_running(self):
        job = Job([row(data.job(NOW))], NOW)
        assert (job.state, job.tone, job.is_active) == ("running", "active", True)
        assert (job.percent, job.rows_of_total, job.time) == ("63%", "63,250 of 100,000 rows", "3 min left")
        assert (job.rate, job.concurrency, job.median_latency) == ("205", "64", "500 ms")
        assert job.errors == [("BasetenModelError", "9"), ("BasetenTimeoutError", "3")]
        assert not job.silent_since

    def test_number_of_rows_not_known(self):
        job = Job([row(data.job(NOW, rows=700, total=None, eta_seconds=None))], NOW)
        assert (job.percent, job.rows_of_total, job.time) == (
            "",
            "700 of at least 1,200 rows",
            "time left not known yet",
        )

    def test_no_rows_yet(self):
        record = data.job(NOW, rows=0, total=None, eta_seconds=None)
        record = replace(record, progress=replace(record.progress, at_least=0))
        assert Job([row(record)], NOW).rows_of_total == "no rows yet"

    @pytest.mark.parametrize(
        ("state", "words", "tone"),
        [
            ("success", "finished", "good"),
            ("failed", "failed", "bad"),
            ("up_for_retry", "failed, a retry follows", "bad"),
            (None, "runs again soon", "quiet"),
            ("a state of Airflow 4", "runs again soon", "quiet"),
        ],
    )
    def test_ended(self, state, words, tone):
        job = Job([row(data.job(NOW, ended=True, updated_at=NOW - 300), state)], NOW)
        assert (job.state, job.tone, job.is_active, job.time) == (words, tone, False, "took 5 min")

    def test_a_job_that_reports_nothing_says_since_when(self):
        assert Job([row(data.job(NOW, updated_at=NOW - 600))], NOW).silent_since == "20:50:00"
        assert not Job([row(data.job(NOW, updated_at=NOW - 600), "failed")], NOW).silent_since

    @pytest.mark.parametrize("state", ["failed", "success", "up_for_retry"])
    def test_no_request_is_in_flight_after_the_end(self, state):
        assert Job([row(data.job(NOW), state)], NOW).concurrency == "–"  # noqa: RUF001

    def test_shards_are_one_job(self):
        shards = [
            stored(data.job(NOW, 500, 1000, failed=1, eta_seconds=50.0), "running", 1),
            stored(data.job(NOW, 1000, 1000, failed=2, ended=True), "success", 0),
            stored(data.job(NOW, 250, 1000, failed=0, eta_seconds=90.0), "deferred", 2),
        ]
        groups = group_jobs([*shards, stored(data.job(NOW), task_id="other")])
        job, other = (read_job(group, NOW) for group in groups)
        assert other.name == "other"
        assert (job.name, job.rows, job.total, job.failed) == ("t", 1750, 3000, 3)
        assert [shard.key.map_index for shard in job.shards] == [0, 1, 2]
        assert set(job.state.split(", ")) == {"1 running", "1 finished", "1 waiting"}
        # Of those that run: a shard that has ended has no rate any more, and the last one decides on the time left.
        assert (job.rate, job.time) == ("410", "1 min 30 s left")

    def test_a_failed_shard_decides_on_the_colour(self):
        job = Job([row(data.job(NOW), "running", 0), row(data.job(NOW), "failed", 1)], NOW)
        assert (job.tone, job.is_active) == ("bad", True)


class TestWait:
    def test_in_queue(self):
        wait = TaskWait(row(data.request(NOW, "queued", 300), "deferred"), NOW)
        assert (wait.status, wait.in_queue, wait.running, wait.deadline) == ("queued", "5 min", "–", "in 55 min")  # noqa: RUF001
        assert not wait.is_late

    def test_running(self):
        wait = TaskWait(row(data.request(NOW, "in progress", 300), "deferred"), NOW)
        assert (wait.status, wait.in_queue, wait.running) == ("in progress", "3 min 20 s", "1 min 40 s")

    def test_after_its_deadline(self):
        wait = TaskWait(row(data.request(NOW, "queued", 4000), "deferred"), NOW)
        assert (wait.deadline, wait.is_late) == ("passed 6 min 40 s ago", True)

    def test_ended(self):
        wait = TaskWait(row(data.request(NOW, "in progress", 300, updated_at=NOW - 90), "success"), NOW)
        assert (wait.running, wait.deadline) == ("10 s", "21:55:00")

    @pytest.mark.parametrize(("state", "deadline"), [("deferred", "none"), ("success", "–")])  # noqa: RUF001
    def test_without_a_deadline(self, state, deadline):
        assert TaskWait(row(data.request(NOW, deadline=None), state), NOW).deadline == deadline

    @pytest.mark.parametrize(
        ("statuses", "requests", "text"),
        [
            ({}, 1, "without a status yet"),
            ({"queued": 1}, 1, "queued"),
            ({"queued": 2, "in progress": 7}, 10, "7 in progress, 2 queued, 1 without a status yet"),
        ],
    )
    def test_status(self, statuses, requests, text):
        assert status_words(statuses, requests) == text

    def test_many_are_summed_up(self):
        groups = [
            RequestGroup("a", {"queued": 1}, 9000, NOW - 60),
            RequestGroup("b", {"queued": 2, "in progress": 1}, 100, NOW - 7200),
            RequestGroup("a", {"in progress": 1}, 900, NOW - 30),
        ]
        waits = Waits(groups, [TaskWait(row(data.request(NOW)), NOW)] * 50, NOW)
        assert (waits.tasks, waits.requests_shown, waits.longest, waits.is_cut) == (
            10_000,
            "10,200 requests",
            "2 h",
            True,
        )
        assert waits.by_status == [("queued", "9,200"), ("in progress", "1,000")]
        assert [(dag.dag_id, dag.tasks, dag.status) for dag in waits.by_dag] == [
            ("a", "9,900", "9,000 queued, 900 in progress"),
            ("b", "100", "200 queued, 100 in progress"),
        ]

    def test_more_combinations_of_statuses_than_are_read(self):
        groups = [RequestGroup("d", {"queued": n, "in progress": 1}, 1, NOW) for n in range(2000)]
        assert Waits(groups, [], NOW).tasks_shown == "at least 2,000"
        assert Waits(groups[1:], [], NOW).tasks_shown == "1,999"


class TestUsage:
    def test_days_with_their_totals(self):
        usage = [
            DayUsage("b", 1, 2, 20, None, 0, None),
            DayUsage("a", 0, 1, 5, 100, 1000, 0.5),
            DayUsage("b", 0, 2, 50, None, 0, None),
        ]
        today, yesterday = usage_days(usage, NOW)
        assert [(line.name, line.requests, line.usd) for line in today.lines] == [("a", "5", "$0.50"), ("b", "50", "–")]  # noqa: RUF001
        assert (today.name, today.total.requests, today.total.rows, today.total.usd) == ("today", "55", "100", "$0.50")
        assert (yesterday.name, yesterday.total) == ("yesterday", None)

    def test_the_dags_of_a_day_beyond_ten_are_one_line(self):
        (day,) = usage_days([DayUsage(f"d{n:02}", 0, 1, 100 - n, None, 0, None) for n in range(14)], NOW)
        assert [line.name for line in day.lines][-2:] == ["d09", "4 other DAGs"]
        assert day.lines[-1].requests == str(90 + 89 + 88 + 87)


class TestOverview:
    def overview(self, **fields):
        nothing = {"jobs": [], "waits": Waits([], [], NOW), "usage": [], "failures": [], "failed_tasks": 0, "now": NOW}
        return Overview(**nothing | fields)

    def test_nothing(self):
        page = self.overview()
        assert not page.is_active
        assert [(tile.number, tile.tone) for tile in page.tiles] == [("0", "quiet")] * 3 + [("0", "plain")]

    def test_the_headline_says_what_runs_what_waits_and_what_has_failed(self):
        page = self.overview(
            jobs=group_jobs([stored(data.job(NOW)), stored(data.job(NOW), "failed", task_id="f")]),
            waits=Waits([RequestGroup("d", {"queued": 1}, 3, NOW - 60)], [], NOW),
            usage=[DayUsage("d", 0, 1, 5, None, 1000, 0.5), DayUsage("d", 1, 1, 5, None, 1000, 9.0)],
            failures=[TaskFailure(row(data.failure(NOW - 60), "failed"), NOW)],
            failed_tasks=2,
        )
        assert page.is_active
        assert [(tile.number, tile.label, tile.detail) for tile in page.tiles] == [
            ("1", "bulk job running", "205 rows/s"),
            ("3", "async requests waiting", "the first for 1 min"),
            ("2", "failed tasks in 24 hours", "the last 1 min ago"),
            ("$0.50", "spent today (UTC)", "1,000 tokens"),
        ]

    def test_requests_are_counted_when_their_task_has_succeeded(self):
        tile = self.overview(usage=[DayUsage("d", 0, 1, 5, None, 0, None)]).tiles[-1]
        assert (tile.number, tile.label, tile.detail) == ("5", "requests today (UTC)", "of tasks that have succeeded")

    def test_many_jobs_are_lines_without_charts(self):
        page = self.overview(jobs=group_jobs([stored(data.job(NOW), task_id=f"t{n}") for n in range(30)]))
        assert (len(page.cards), len([*page.lines])) == (6, 24)
        assert page.tiles[0].number == "30"

    def test_more_jobs_than_are_read(self):
        page = self.overview(jobs=group_jobs([stored(data.job(NOW), task_id=f"t{n}") for n in range(200)]))
        assert page.tiles[0].number == "200+"

    def test_older_failures_are_folded(self):
        found = [TaskFailure(row(data.failure(NOW - age), "failed", task_id=f"t{age}"), NOW) for age in range(5)]
        page = self.overview(failures=found)
        assert [failure.task.key.task_id for failure in page.last_failures] == ["t0", "t1", "t2"]
        assert [failure.task.key.task_id for failure in page.older_failures] == ["t3", "t4"]


class TestTask:
    @pytest.mark.parametrize(
        ("state", "records", "expected"),
        [
            ("failed", [data.job(NOW)], True),
            ("up_for_retry", [data.job(NOW)], True),
            ("failed", [data.job(NOW), data.failure(NOW)], False),
            ("running", [data.job(NOW)], False),
            ("failed", [], False),
        ],
    )
    def test_one_that_has_failed_without_an_error_says_so(self, state, records, expected):
        view = make_task_view(row(None, state), {record.key: data.plain(record) for record in records}, NOW)
        assert view.has_failed_silently is expected

    def test_records_of_each_kind(self):
        records = [data.job(NOW), data.request(NOW), data.failure(NOW), data.usage(NOW, tokens={"prompt_tokens": 12})]
        view = make_task_view(row(None), {record.key: data.plain(record) for record in records}, NOW)
        assert view.job.rows == 63_250
        assert view.wait.status == "queued"
        assert view.failure.type == "BasetenModelError"
        assert dict(view.usage.facts) == {"requests": "1", "prompt tokens": "12", "recorded at": "21:00:00 UTC"}
        assert (view.target, view.model_url) == (data.MODEL, data.PAGE)

    @pytest.mark.parametrize("value", [None, 7, "text", [], {}, {"progress": "none"}])
    def test_what_is_not_a_record_is_left_out(self, value):
        keys = ("baseten_bulk_job", "baseten_async_request", "baseten_usage", "baseten_failure")
        assert make_task_view(row(None), dict.fromkeys(keys, value), NOW).is_empty


class TestPlaces:
    def test_ids_are_quoted(self):
        key = TaskKey("d", "manual__2026-11-28T20:00:00+00:00", "group.t", 3)
        run = "manual__2026-11-28T20%3A00%3A00%2B00%3A00"
        assert task_page(key) == f"task?dag_id=d&run_id={run}&task_id=group.t&map_index=3"
        assert airflow_task(key, 2) == f"../../dags/d/runs/{run}/tasks/group.t/mapped/3?try_number=2"

    @pytest.mark.parametrize(
        "url", ["", "javascript:alert(1)", "data:text/html,x", "//host/x", "https:", "vbscript:x", "http://[", "/path"]
    )
    def test_only_pages_of_the_web_are_linked(self, url):
        assert web_page(url) is None
