"""Bulk jobs as the pages show them. The shards of one run are shown as one job."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from markupsafe import Markup

from airflow_provider_baseten.activity.records import BulkJobRecord, History, JobProgress
from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.charts import histogram, line_chart, median, progress_bar, round_ranges
from airflow_provider_baseten.pages.places import airflow_task, task_page, web_page
from airflow_provider_baseten.pages.rows import ACTIVE_STATES, StoredJob, TaskKey, TaskRow, read_stored
from airflow_provider_baseten.pages.states import state_words, tone

#: Largest number of running tasks that are read.
MAX_JOBS = 200

#: The tasks of a bulk job, whose records are not read yet.
JobGroup: TypeAlias = tuple[StoredJob, ...]

# Without a report for this number of seconds, the page says when the last one came.
_SILENT_SECONDS = 120.0

# From the most to the least urgent state of a shard.
_TONES = ("bad", "active", "quiet", "good")


@dataclass(frozen=True)
class Job:
    """One bulk job: a task, or all the mapped instances of a task in one run.

    :param tasks: the task instances, ordered by their map index.
    :param now: seconds since the epoch.
    """

    tasks: Sequence[TaskRow[BulkJobRecord]]
    now: float

    @cached_property
    def id(self) -> str:
        """Id that stays the same while the numbers change."""
        key = self.key
        return f"job-{key.dag_id}-{key.run_id}-{key.task_id}-{key.map_index if len(self.tasks) == 1 else 'all'}"

    @property
    def key(self) -> TaskKey:
        """The first task instance."""
        return self.tasks[0].key

    @property
    def is_active(self) -> bool:
        """Whether a task of the job runs or waits."""
        return any(task.is_active for task in self.tasks)

    @property
    def name(self) -> str:
        """The task, with the map index of a single mapped task instance."""
        return self.key.label if len(self.tasks) == 1 else self.key.task_id

    @property
    def url(self) -> str:
        """URL of the page of the job's first task."""
        return task_page(self.key)

    @property
    def airflow_url(self) -> str:
        """URL of the job's first task in Airflow's UI."""
        return airflow_task(self.key)

    @property
    def target(self) -> str:
        """What the job calls."""
        return self.tasks[0].record.target

    @property
    def model_url(self) -> str | None:
        """URL of the page of the model."""
        return web_page(self.tasks[0].record.page)

    @property
    def output_path(self) -> str:
        """URI of the output folder."""
        return self.tasks[0].record.output_path

    @cached_property
    def _worst(self) -> TaskRow[BulkJobRecord]:
        """The task whose state is the most urgent one."""
        return min(self.tasks, key=lambda task: _TONES.index(tone(task)))

    @property
    def tone(self) -> str:
        """Tone of the job's state."""
        return tone(self._worst)

    @property
    def state(self) -> str:
        """State of the job in words; with several shards, the number of shards in each state."""
        if len(self.tasks) == 1:
            return state_words(self._worst)
        counts = Counter(state_words(task) for task in self.tasks)
        return ", ".join(f"{count} {state}" for state, count in counts.most_common())

    @cached_property
    def rows(self) -> int:
        """Number of rows with an outcome."""
        return sum(progress.rows for progress in self._progress)

    @cached_property
    def total(self) -> int | None:
        """Number of all rows; ``None`` until each shard knows its number."""
        totals = [progress.total for progress in self._progress]
        return None if None in totals else sum(total or 0 for total in totals)

    @cached_property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(progress.failed for progress in self._progress)

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Failed rows by type of error, the most frequent first."""
        counts = sum((Counter(progress.errors) for progress in self._progress), Counter[str]())
        return [(name, words.count(number)) for name, number in counts.most_common()]

    @property
    def percent(self) -> str:
        """Share of the rows that have an outcome; empty while the number of rows is not known."""
        return words.percent(self.rows, self.total) if self.total else ""

    @property
    def rows_of_total(self) -> str:
        """Number of rows with an outcome, and of all rows as far as they are known."""
        if self.total is not None:
            return f"{words.count(self.rows)} of {words.count(self.total)} rows"
        at_least = max(self.rows, sum(progress.at_least for progress in self._progress))
        return f"{words.count(self.rows)} of at least {words.count(at_least)} rows" if at_least else "no rows yet"

    @cached_property
    def rows_per_second(self) -> float:
        """Rows per second of the shards that are active; of an ended job, of all its shards."""
        return sum(task.record.progress.rows_per_second for task in self._current)

    @property
    def rate(self) -> str:
        """Rows per second in words."""
        return words.rate(self.rows_per_second)

    @property
    def concurrency(self) -> str:
        """Maximum number of requests in flight, while the job runs."""
        if not self.is_active:
            return words.NOTHING
        return words.count(sum(task.record.progress.concurrency for task in self._current))

    @property
    def time(self) -> str:
        """Time left; of a job that has ended, how long it took."""
        if not self.is_active:
            ended = max(task.record.updated_at for task in self.tasks)
            return f"took {words.elapsed(ended - self._started_at)}"
        left = [task.record.progress.eta_seconds for task in self._current]
        known = [seconds for seconds in left if seconds is not None]
        return f"{words.elapsed(max(known))} left" if len(known) == len(left) else "time left not known yet"

    @property
    def began(self) -> str:
        """When the job began."""
        return words.moment(self._started_at, self.now)

    @property
    def silent_since(self) -> str:
        """When the last report came; empty if reports come as they should."""
        last = max(task.record.updated_at for task in self.tasks)
        return words.moment(last, self.now) if self.is_active and self.now - last > _SILENT_SECONDS else ""

    @property
    def bar(self) -> Markup:
        """Progress of the job."""
        return progress_bar(self.rows, self.failed, self.total)

    @property
    def concurrency_chart(self) -> Markup:
        """Requests in flight over time; of several shards, of the one that runs longest."""
        points = [*zip(self._history.at, self._history.concurrency, strict=False)]
        return line_chart(points, "requests in flight", self.now)

    @property
    def rate_chart(self) -> Markup:
        """Rows per second over time; of several shards, of the one that runs longest."""
        points = [*zip(self._history.at, self._history.rows_per_second, strict=False)]
        return line_chart(points, "rows per second", self.now)

    @property
    def latency_chart(self) -> Markup:
        """Latencies of all requests."""
        return histogram(round_ranges(self._latencies), "requests by latency")

    @property
    def median_latency(self) -> str:
        """Latency that half of the requests did not exceed; empty before the first response."""
        return words.latency(median(self._latencies)) if any(number for _, number in self._latencies) else ""

    @property
    def shards(self) -> list["Job"]:
        """The task instances of a job with several shards, as jobs of their own."""
        return [Job([task], self.now) for task in self.tasks] if len(self.tasks) > 1 else []

    @cached_property
    def _progress(self) -> list[JobProgress]:
        return [task.record.progress for task in self.tasks]

    @cached_property
    def _current(self) -> list[TaskRow[BulkJobRecord]]:
        return [task for task in self.tasks if task.is_active] or list(self.tasks)

    @property
    def _history(self) -> History:
        return max((task.record.history for task in self.tasks), key=lambda history: len(history.at))

    @property
    def _started_at(self) -> float:
        return min(task.record.started_at for task in self.tasks)

    @cached_property
    def _latencies(self) -> list[tuple[float, int]]:
        counts: Counter[float] = Counter()
        for progress in self._progress:
            for upper, number in progress.latencies.ranges:
                counts[upper] += number
        return sorted(counts.items())


def group_jobs(stored: Iterable[StoredJob]) -> list[JobGroup]:
    """Return the jobs that tasks belong to, in the order of the tasks."""
    groups: dict[tuple[str, str, str], list[StoredJob]] = defaultdict(list)
    for task in stored:
        dag_id, run_id, task_id, *_ = task
        groups[dag_id, run_id, task_id].append(task)
    return [tuple(group) for group in groups.values()]


def is_active(group: JobGroup) -> bool:
    """Return whether a task of a bulk job runs or waits."""
    return any(state in ACTIVE_STATES for *_, state, _, _ in group)


def read_job(group: JobGroup, now: float) -> Job:
    """Return a bulk job.

    :param now: seconds since the epoch.
    """
    tasks = [task for stored in group if (task := read_stored(stored)) is not None]
    return Job(sorted(tasks, key=lambda task: task.key.map_index), now)
