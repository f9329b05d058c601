"""The page of a task: the records of one task instance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.activity.records import (
    AsyncRequestRecord,
    BulkJobRecord,
    FailureRecord,
    RecordT,
    UsageRecord,
    read_record,
)
from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.failures import TaskFailure
from airflow_provider_baseten.pages.jobs import Job
from airflow_provider_baseten.pages.places import airflow_task, web_page
from airflow_provider_baseten.pages.requests import TaskWait
from airflow_provider_baseten.pages.rows import TaskKey, TaskRow
from airflow_provider_baseten.pages.states import state_words, tone


@dataclass(frozen=True)
class TaskUsage:
    """What a task has used, in words."""

    record: UsageRecord
    now: float

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values."""
        record = self.record
        facts = [("model", record.model), ("requests", words.count(record.requests))]
        facts.append(("rows", None if record.rows is None else words.count(record.rows)))
        facts += [(kind.replace("_", " "), words.count(number)) for kind, number in record.tokens.items()]
        facts.append(("cost", None if record.cost_usd is None else words.usd(record.cost_usd)))
        facts.append(("recorded at", f"{words.moment(record.at, self.now)} UTC"))
        return [(name, value) for name, value in facts if value is not None]


@dataclass(frozen=True)
class TaskView:
    """What the page of a task shows.

    :param task: the task instance.
    :param job: its bulk job; ``None`` if it has none. The same holds for the other records.
    :param now: seconds since the epoch.
    """

    task: TaskRow[None]
    job: Job | None
    wait: TaskWait | None
    usage: TaskUsage | None
    failure: TaskFailure | None
    now: float

    @property
    def key(self) -> TaskKey:
        """The task instance."""
        return self.task.key

    @property
    def is_active(self) -> bool:
        """Whether the task runs or waits."""
        return self.task.is_active

    @property
    def is_empty(self) -> bool:
        """Whether the task has no records."""
        return not (self.job or self.wait or self.usage or self.failure)

    @property
    def state(self) -> str:
        """State of the task in words."""
        return state_words(self.task)

    @property
    def has_failed_silently(self) -> bool:
        """Whether the task has failed without a record of its error, for example because its worker died."""
        return self.failure is None and not self.is_empty and self.task.state in {"failed", "up_for_retry"}

    @property
    def tone(self) -> str:
        """Tone of the state."""
        return tone(self.task)

    @property
    def airflow_url(self) -> str:
        """URL of the task in Airflow's UI, which shows its log."""
        return airflow_task(self.key)

    @property
    def target(self) -> str:
        """What the task calls."""
        return next((record.target for record in self._records if record.target), "")

    @property
    def model_url(self) -> str | None:
        """URL of the page of the model."""
        return next((url for record in self._records if (url := web_page(record.page))), None)

    @property
    def _records(self) -> list[Any]:
        job = self.job.tasks[0].record if self.job else None
        wait = self.wait.task.record if self.wait else None
        failure = self.failure.task.record if self.failure else None
        usage = self.usage.record if self.usage else None
        return [record for record in (job, wait, failure, usage) if record]


def make_task_view(task: TaskRow[None], values: Mapping[str, object], now: float) -> TaskView:
    """Return what the page of a task shows.

    :param values: values of the task's XComs by their keys. What is not a record is left out.
    :param now: seconds since the epoch.
    """

    def find(kind: type[RecordT]) -> TaskRow[RecordT] | None:
        record = read_record(kind, values.get(kind.key))
        return None if record is None else TaskRow(task.key, task.state, task.try_number, record)

    job, wait, failure = find(BulkJobRecord), find(AsyncRequestRecord), find(FailureRecord)
    usage = find(UsageRecord)
    return TaskView(
        task=task,
        job=Job([job], now) if job else None,
        wait=TaskWait(wait, now) if wait else None,
        usage=TaskUsage(usage.record, now) if usage else None,
        failure=TaskFailure(failure, now) if failure else None,
        now=now,
    )
