"""Async requests that tasks wait for, as the pages show them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_baseten.activity.records import AsyncRequestRecord
from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.places import airflow_task, task_page, web_page
from airflow_provider_baseten.pages.rows import RequestGroup, TaskRow

#: Largest number of combinations of DAG and statuses that are read.
MAX_GROUPS = 2000

_NO_STATUS = "without a status yet"


@dataclass(frozen=True)
class TaskWait:
    """A task that waits, or has waited, for async requests.

    :param now: seconds since the epoch.
    """

    task: TaskRow[AsyncRequestRecord]
    now: float

    @property
    def url(self) -> str:
        """URL of the page of the task."""
        return task_page(self.task.key)

    @property
    def airflow_url(self) -> str:
        """URL of the task in Airflow's UI."""
        return airflow_task(self.task.key)

    @property
    def target(self) -> str:
        """What the requests call."""
        return self._record.target

    @property
    def model_url(self) -> str | None:
        """URL of the page of the model."""
        return web_page(self._record.page)

    @property
    def status(self) -> str:
        """Status of the request; of several requests, their numbers by status."""
        return status_words(self._record.statuses, self._record.requests)

    @property
    def request_ids(self) -> Sequence[str]:
        """Ids of the first requests."""
        return self._record.request_ids

    @property
    def more_ids(self) -> int:
        """Number of requests whose ids are not shown."""
        return max(0, self._record.requests - len(self._record.request_ids))

    @property
    def sent(self) -> str:
        """When the requests were sent."""
        return words.moment(self._record.sent_at, self.now)

    @property
    def seen(self) -> str:
        """When the statuses were seen."""
        return words.moment(self._record.updated_at, self.now)

    @property
    def in_queue(self) -> str:
        """Time in Baseten's queue, until the first request ran."""
        return words.elapsed((self._record.running_at or self._end) - self._record.sent_at)

    @property
    def running(self) -> str:
        """Time since the first request ran."""
        return words.NOTHING if self._record.running_at is None else words.elapsed(self._end - self._record.running_at)

    @property
    def deadline(self) -> str:
        """Time until the wait ends, or when it would have ended."""
        if self._record.deadline is None:
            return "none" if self.task.is_active else words.NOTHING
        if not self.task.is_active:
            return words.moment(self._record.deadline, self.now)
        left = self._record.deadline - self.now
        return f"in {words.elapsed(left)}" if left > 0 else f"passed {words.elapsed(-left)} ago"

    @property
    def is_late(self) -> bool:
        """Whether the task still waits after its deadline."""
        deadline = self._record.deadline
        return self.task.is_active and deadline is not None and deadline < self.now

    @property
    def _record(self) -> AsyncRequestRecord:
        return self.task.record

    @property
    def _end(self) -> float:
        return self.now if self.task.is_active else self._record.updated_at


@dataclass(frozen=True)
class DagWaits:
    """The waits of one DAG, summed up."""

    dag_id: str
    tasks: str
    status: str
    oldest: str


@dataclass(frozen=True)
class Waits:
    """All waits of the DAGs that the user may read.

    :param groups: waits by DAG and status.
    :param oldest: the tasks that have waited longest.
    :param now: seconds since the epoch.
    """

    groups: Sequence[RequestGroup]
    oldest: Sequence[TaskWait]
    now: float

    @property
    def tasks(self) -> int:
        """Number of waiting tasks."""
        return sum(group.tasks for group in self.groups)

    @property
    def tasks_shown(self) -> str:
        """Number of waiting tasks in words: a lower bound if there are too many different combinations of statuses."""
        return f"{'at least ' if len(self.groups) >= MAX_GROUPS else ''}{words.count(self.tasks)}"

    @property
    def requests_shown(self) -> str:
        """Number of requests in words."""
        return f"{words.count(self.requests)} request{'' if self.requests == 1 else 's'}"

    @property
    def by_status(self) -> list[tuple[str, str]]:
        """Numbers of requests by status, the most frequent first."""
        return [(status, words.count(number)) for status, number in _sum(self.groups).most_common()]

    @property
    def requests(self) -> int:
        """Number of requests."""
        return _sum(self.groups).total()

    @property
    def longest(self) -> str:
        """Time for which the first request waits."""
        sent = [group.oldest_at for group in self.groups if group.oldest_at is not None]
        return words.elapsed(self.now - min(sent)) if sent else ""

    @property
    def is_cut(self) -> bool:
        """Whether not all waiting tasks are listed."""
        return self.tasks > len(self.oldest)

    @property
    def by_dag(self) -> list[DagWaits]:
        """The waits of each DAG, those with the most tasks first."""
        found: dict[str, list[RequestGroup]] = {}
        for group in self.groups:
            found.setdefault(group.dag_id, []).append(group)
        return [
            DagWaits(
                dag_id,
                words.count(sum(group.tasks for group in groups)),
                _listed(_sum(groups)),
                Waits(groups, (), self.now).longest,
            )
            for dag_id, groups in sorted(found.items(), key=lambda item: -sum(group.tasks for group in item[1]))
        ]


def status_words(statuses: Mapping[str, int], requests: int) -> str:
    """Return the status of the requests of a task in words.

    :param statuses: number of requests by status.
    :param requests: number of requests.
    """
    counts = Counter(statuses)
    if (unknown := requests - counts.total()) > 0:
        counts[_NO_STATUS] += unknown
    if requests == 1:
        return next(iter(+counts), _NO_STATUS)
    return _listed(counts)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{words.count(number)} {status}" for status, number in counts.most_common() if number)


def _sum(groups: Iterable[RequestGroup]) -> Counter[str]:
    """Return the number of requests by status."""
    counts: Counter[str] = Counter()
    for group in groups:
        for status, number in (group.statuses or {_NO_STATUS: 1}).items():
            counts[status] += number * group.tasks
    return counts
