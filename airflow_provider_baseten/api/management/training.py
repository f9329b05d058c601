"""Calls for training projects and their jobs."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_baseten.api.management.body import check_body, millis
from airflow_provider_baseten.api.management.call import Call, change, get, reads
from airflow_provider_baseten.api.management.logs import Direction, LogLevel, LogLine, log_query
from airflow_provider_baseten.api.management.path import segment
from airflow_provider_baseten.api.management.training_jobs import (
    Checkpoint,
    CheckpointFiles,
    DeletedJob,
    GpuCapacity,
    QueueContext,
    TrainingJob,
    TrainingMetrics,
    TrainingProject,
)
from airflow_provider_baseten.api.management.training_spec import (
    TrainingJobSpec,
    TrainingJobUpdate,
    check_training_job,
)
from airflow_provider_baseten.exceptions import BasetenInputError


def list_training_projects() -> Call[list[TrainingProject]]:
    """Return all training projects."""
    path, read = "/v1/training_projects", reads(list[TrainingProject], "training_projects")
    return get(path, "listing the training projects", read)


def ensure_training_project(name: str) -> Call[TrainingProject]:
    """Return the training project with a name. If there is none, Baseten creates it."""
    if not isinstance(name, str) or not name.strip():
        raise BasetenInputError("The name of a training project is empty.")
    body = {"training_project": {"name": name}}
    read = reads(TrainingProject, "training_project")
    return change("POST", "/v1/training_projects", f"creating training project {name}", read, body)


def get_training_project(project_id: str) -> Call[TrainingProject]:
    """Return a training project."""
    read = reads(TrainingProject, "training_project")
    return get(_project(project_id), f"reading training project {project_id}", read)


def create_training_job(project_id: str, job: TrainingJobSpec) -> Call[TrainingJob]:
    """Create a training job. Each call creates another one, which is paid for.

    :param job: what to run, see :class:`TrainingJobSpec`.
    :raises BasetenInputError: the job has an unknown field, lacks one, or a value is not valid.
    """
    spec = check_training_job(job)
    read, subject = reads(TrainingJob, "training_job"), f"creating a training job in project {project_id}"
    return change(
        "POST",
        f"{_project(project_id)}/jobs",
        subject,
        read,
        {"training_job": spec},
        private=_values_of_variables(spec),
        idempotent=False,
    )


def list_training_jobs(project_id: str) -> Call[list[TrainingJob]]:
    """Return the jobs of a project."""
    read = reads(list[TrainingJob], "training_jobs")
    return get(f"{_project(project_id)}/jobs", f"listing the training jobs of project {project_id}", read)


def search_training_jobs(
    project_id: str | None = None, *, job_id: str | None = None, statuses: Collection[str] | None = None
) -> Call[list[TrainingJob]]:
    """Return jobs of all projects, the newest first.

    :param project_id: restricts the search to a project.
    :param job_id: restricts the search to a job.
    :param statuses: restricts the search to these statuses.
    """
    body: dict[str, Any] = {"order_by": [{"field": "created_at", "order": "desc"}]}
    if project_id is not None:
        body["project_id"] = segment("project_id", project_id)
    if job_id is not None:
        body["job_id"] = segment("job_id", job_id)
    if statuses is not None:
        body["statuses"] = list(statuses)
    read = reads(list[TrainingJob], "training_jobs")
    return change("POST", "/v1/training_jobs/search", "searching training jobs", read, body)


def get_training_job(project_id: str, job_id: str) -> Call[TrainingJob]:
    """Return a job.

    :raises BasetenNotFoundError: the project has no such job.
    """
    return get(_job(project_id, job_id), f"reading training job {job_id}", reads(TrainingJob, "training_job"))


def update_training_job(project_id: str, job_id: str, update: TrainingJobUpdate) -> Call[TrainingJob]:
    """Change the priority or the availability model of a job that is still pending."""
    body = check_body(TrainingJobUpdate, "update", update)
    read = reads(TrainingJob, "training_job")
    return change("PATCH", _job(project_id, job_id), f"changing training job {job_id}", read, body)


def stop_training_job(project_id: str, job_id: str) -> Call[TrainingJob]:
    """Stop a job. What it has saved as checkpoints stays."""
    read = reads(TrainingJob, "training_job")
    return change("POST", f"{_job(project_id, job_id)}/stop", f"stopping training job {job_id}", read, {})


def recreate_training_job(project_id: str, job_id: str) -> Call[TrainingJob]:
    """Create a new job with the settings of an earlier one. The new job is paid for."""
    read = reads(TrainingJob, "training_job")
    subject = f"creating training job {job_id} again"
    return change("POST", f"{_job(project_id, job_id)}/recreate", subject, read, idempotent=False)


def delete_training_job(project_id: str, job_id: str) -> Call[DeletedJob]:
    """Delete a job that has ended, with its checkpoints."""
    return change("DELETE", _job(project_id, job_id), f"deleting training job {job_id}", reads(DeletedJob))


def get_training_logs(
    project_id: str,
    job_id: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    direction: Direction | None = None,
    limit: int | None = None,
    min_level: LogLevel | None = None,
) -> Call[list[LogLine]]:
    """Return lines of the log of a job; see :class:`~.logs.LogFilter` for the parameters."""
    query = log_query(
        {"start": start, "end": end, "direction": direction, "limit": limit, "min_level": min_level},
    )
    read = reads(list[LogLine], "logs")
    return get(f"{_job(project_id, job_id)}/logs", f"reading the logs of training job {job_id}", read, **query)


def list_checkpoints(project_id: str, job_id: str) -> Call[list[Checkpoint]]:
    """Return the checkpoints of a job."""
    read = reads(list[Checkpoint], "checkpoints")
    return get(f"{_job(project_id, job_id)}/checkpoints", f"listing the checkpoints of training job {job_id}", read)


def list_checkpoint_files(
    project_id: str, job_id: str, *, page_size: int | None = None, page_token: int | None = None
) -> Call[CheckpointFiles]:
    """Return a page of the files of a job's checkpoints, with URLs that work without a key for some time."""
    path = f"{_job(project_id, job_id)}/checkpoint_files"
    subject = f"listing the checkpoint files of training job {job_id}"
    return get(path, subject, reads(CheckpointFiles), page_size=page_size, page_token=page_token)


def get_training_metrics(
    project_id: str, job_id: str, *, start: datetime | None = None, end: datetime | None = None
) -> Call[TrainingMetrics]:
    """Return the metrics of a job: use of GPUs, CPUs and memory."""
    times = {"start_epoch_millis": millis("start", start), "end_epoch_millis": millis("end", end)}
    path = f"{_job(project_id, job_id)}/metrics"
    return get(path, f"reading the metrics of training job {job_id}", reads(TrainingMetrics), **times)


def get_queue_context(job_id: str) -> Call[QueueContext]:
    """Return why a job waits for capacity, or has waited."""
    path = f"/v1/training/jobs/{segment('job_id', job_id)}/queue_context"
    return get(path, f"reading the queue of training job {job_id}", reads(QueueContext))


def list_gpu_capacity() -> Call[list[GpuCapacity]]:
    """Return the GPUs that training may use, by type."""
    path = "/v1/training/capacity"
    return get(path, "reading the capacity for training", reads(list[GpuCapacity], "gpu_capacities"))


def _project(project_id: str) -> str:
    return f"/v1/training_projects/{segment('project_id', project_id)}"


def _job(project_id: str, job_id: str) -> str:
    return f"{_project(project_id)}/jobs/{segment('job_id', job_id)}"


def _values_of_variables(spec: Mapping[str, Any]) -> list[str]:
    """Return the values of the environment variables of a job, without the names of secrets, which are objects."""
    runtime: Mapping[str, Any] = spec.get("runtime") or {}
    variables: Mapping[str, Any] = runtime.get("environment_variables") or {}
    return [value for value in variables.values() if isinstance(value, str)]
