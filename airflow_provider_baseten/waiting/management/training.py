"""Watch of a training job: waits for its end, and logs the lines that it writes."""

from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api.excerpts import one_line
from airflow_provider_baseten.api.management.call import Call
from airflow_provider_baseten.api.management.training import get_training_job, stop_training_job
from airflow_provider_baseten.api.management.training_jobs import ENDED, SUCCEEDED, TrainingJob
from airflow_provider_baseten.exceptions import BasetenError, BasetenTrainingError
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.management.training_looks import TrainingLooks
from airflow_provider_baseten.waiting.management.watch import Looks, State, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWatch(Watch):
    """Waits until a training job has ended.

    :param project_id: id of the project.
    :param job_id: id of the job.
    :param stop_on_kill: whether a kill of the task stops the job.
    """

    kind = "training"

    project_id: str
    job_id: str
    stop_on_kill: bool = True

    @property
    def name(self) -> str:
        """Name of the job."""
        return f"training job {self.job_id}"

    def call(self) -> Call[TrainingJob]:
        """Return the call that reads the job."""
        return get_training_job(self.project_id, self.job_id)

    def looks(self, log: Log) -> Looks:
        """Return the function that reads the job and logs its new lines."""
        return TrainingLooks(self, log).look

    def judge(self, found: TrainingJob, now: float) -> State:
        """Return the state of the job."""
        status = found.current_status
        text = status.removeprefix("TRAINING_JOB_").lower().replace("_", " ")
        if status == SUCCEEDED and found.checkpoint_sync_status == "SYNCING":
            return State(text=f"{text}, its checkpoints are still being stored")
        if status == SUCCEEDED:
            return State(text=text, is_done=True, result=training_result_of(found))
        if status in ENDED:
            return State(text=text, error=self._failure(found, text))
        return State(text=text)

    def missing(self, error: BasetenError) -> BasetenError:
        """Return the error for a job that does not exist, or not any more."""
        return BasetenTrainingError(
            f"{self.name} does not exist in project {self.project_id}, or was deleted while the task waited for it. "
            f"{error}",
            status=404,
        )

    def stop_calls(self) -> list[Call[Any]]:
        """Return the call that stops the job, if that is wanted."""
        return [stop_training_job(self.project_id, self.job_id)] if self.stop_on_kill else []

    def _failure(self, job: TrainingJob, text: str) -> BasetenTrainingError:
        reason = f" Baseten says: {one_line(job.error_message, 300).rstrip('.')}." if job.error_message else ""
        return BasetenTrainingError(
            f"Training job {self.job_id} ({job.name or 'without a name'}) ended without success: {text}.{reason} Read "
            "its lines above; the next attempt of the task creates a new job.",
            error_code=job.current_status,
        )


def training_result_of(job: TrainingJob) -> dict[str, Any]:
    """Return what a task returns of a job that has ended, without its checkpoints."""
    return {
        "training_job_id": job.id,
        "training_project_id": job.training_project_id,
        "name": job.name,
        "status": job.current_status,
    }
