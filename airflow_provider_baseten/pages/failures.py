"""Failures of tasks, as the pages show them."""

from dataclasses import dataclass

from airflow_provider_baseten.activity.records import FailureRecord
from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.places import airflow_task, task_page, web_page
from airflow_provider_baseten.pages.rows import TaskRow


@dataclass(frozen=True)
class TaskFailure:
    """The failure of a task.

    :param now: seconds since the epoch.
    """

    task: TaskRow[FailureRecord]
    now: float

    @property
    def at(self) -> str:
        """When the task failed."""
        return words.moment(self.task.record.at, self.now)

    @property
    def ago(self) -> str:
        """Time since the failure."""
        return f"{words.elapsed(self.now - self.task.record.at)} ago"

    @property
    def type(self) -> str:
        """Type of the error."""
        return self.task.record.type

    @property
    def message(self) -> str:
        """Message of the error."""
        return self.task.record.message

    @property
    def request_id(self) -> str | None:
        """Id of the request."""
        return self.task.record.request_id

    @property
    def status(self) -> int | None:
        """HTTP status of the response."""
        return self.task.record.status

    @property
    def target(self) -> str:
        """What the task called."""
        return self.task.record.target

    @property
    def url(self) -> str:
        """URL of the page of the task."""
        return task_page(self.task.key)

    @property
    def log_url(self) -> str:
        """URL of the log of the attempt in Airflow's UI."""
        return airflow_task(self.task.key, self.task.try_number)

    @property
    def model_url(self) -> str | None:
        """URL of the page of the model."""
        return web_page(self.task.record.page)
