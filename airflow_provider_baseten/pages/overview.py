"""The menu page: what runs and waits over all DAGs that the user may read, what was used, and what failed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.failures import TaskFailure
from airflow_provider_baseten.pages.jobs import MAX_JOBS, Job, JobGroup, group_jobs, is_active, read_job
from airflow_provider_baseten.pages.requests import TaskWait, Waits
from airflow_provider_baseten.pages.rows import DayUsage
from airflow_provider_baseten.pages.usage import MAX_USAGE_RECORDS, UsageDay, tokens_of, usage_days, usd_of

if TYPE_CHECKING:
    from airflow_provider_baseten.pages.queries import Queries

# Jobs that are shown with their charts; the others are a line each.
_MAX_CARDS = 6
# Failures that are shown at once, so that the async requests below them stay near.
_MAX_OPEN_FAILURES = 3


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page.

    :param section: id of the section that has the details.
    :param label: what is counted.
    :param detail: a second fact in small letters.
    :param tone: colour of the number.
    """

    section: str
    number: str
    label: str
    detail: str
    tone: str


@dataclass(frozen=True)
class Overview:
    """What the menu page shows.

    :param jobs: bulk jobs that run, and those that have ended in the last hour.
    :param usage: numbers by DAG and day.
    :param failures: the last failures.
    :param failed_tasks: number of failed tasks of the last 24 hours.
    :param now: seconds since the epoch.
    """

    jobs: Sequence[JobGroup]
    waits: Waits
    usage: Sequence[DayUsage]
    failures: Sequence[TaskFailure]
    failed_tasks: int
    now: float

    @property
    def is_active(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self.running_jobs or self.waits.tasks)

    @property
    def running_jobs(self) -> list[JobGroup]:
        """Bulk jobs that run, those that began last first."""
        return [job for job in self.jobs if is_active(job)]

    @property
    def cards(self) -> list[Job]:
        """Running jobs that are shown with charts."""
        return [read_job(job, self.now) for job in self.running_jobs[:_MAX_CARDS]]

    @property
    def has_lines(self) -> bool:
        """Whether more jobs run than are shown with charts."""
        return len(self.running_jobs) > _MAX_CARDS

    @property
    def lines(self) -> Iterator[Job]:
        """Running jobs that are shown in a line each. Each is read when it is shown, see ``StoredJob``."""
        return (read_job(job, self.now) for job in self.running_jobs[_MAX_CARDS:])

    @property
    def ended_jobs(self) -> list[Job]:
        """Bulk jobs that have ended in the last hour, the last one first."""
        return [read_job(job, self.now) for job in self.jobs if not is_active(job)]

    @property
    def last_failures(self) -> Sequence[TaskFailure]:
        """The failures that are shown at once."""
        return self.failures[:_MAX_OPEN_FAILURES]

    @property
    def older_failures(self) -> Sequence[TaskFailure]:
        """The failures that the user unfolds."""
        return self.failures[_MAX_OPEN_FAILURES:]

    @property
    def days(self) -> list[UsageDay]:
        """Usage by day."""
        return usage_days(self.usage, self.now)

    @property
    def summed_up(self) -> str:
        """What the numbers of usage are sums of."""
        if sum(used.tasks for used in self.usage) < MAX_USAGE_RECORDS:
            return "Of tasks that have succeeded."
        return f"Of the last {words.count(MAX_USAGE_RECORDS)} tasks that have succeeded; older days are not complete."

    @property
    def _is_cut(self) -> bool:
        """Whether more bulk jobs may run than were read."""
        return sum(map(len, self.running_jobs)) >= MAX_JOBS

    @property
    def tiles(self) -> list[Tile]:
        """The headline."""
        rate = sum(read_job(job, self.now).rows_per_second for job in self.running_jobs)
        today = [used for used in self.usage if used.days_ago == 0]
        usd, tokens = usd_of(today), tokens_of(today)
        requests = sum(used.requests for used in today)
        waiting = self.waits.tasks
        return [
            Tile(
                "jobs",
                f"{words.count(len(self.running_jobs))}{'+' if self._is_cut else ''}",
                "bulk job running" if len(self.running_jobs) == 1 else "bulk jobs running",
                f"{words.rate(rate)} rows/s" if self.running_jobs else "",
                "active" if self.running_jobs else "quiet",
            ),
            Tile(
                "requests",
                words.count(self.waits.requests),
                "async request waiting" if self.waits.requests == 1 else "async requests waiting",
                f"the first for {self.waits.longest}" if waiting else "",
                "active" if waiting else "quiet",
            ),
            Tile(
                "failures",
                words.count(self.failed_tasks),
                "failed task in 24 hours" if self.failed_tasks == 1 else "failed tasks in 24 hours",
                f"the last {self.failures[0].ago}" if self.failures and self.failed_tasks else "",
                "bad" if self.failed_tasks else "quiet",
            ),
            Tile(
                "usage",
                words.count(requests) if usd is None else words.usd(usd),
                "requests today (UTC)" if usd is None else "spent today (UTC)",
                f"{words.count(tokens)} tokens" if tokens else "of tasks that have succeeded" if requests else "",
                "plain",
            ),
        ]


def read_overview(queries: "Queries", now: float) -> Overview:
    """Read what the menu page shows.

    :param now: seconds since the epoch.
    """
    jobs = group_jobs([*queries.active_jobs(), *queries.ended_jobs()])
    oldest = [TaskWait(task, now) for task in queries.oldest_requests()]
    return Overview(
        jobs=jobs,
        waits=Waits(queries.request_groups(), oldest, now),
        usage=queries.usage(),
        failures=[TaskFailure(task, now) for task in queries.failures()],
        failed_tasks=queries.count_failures(),
        now=now,
    )
