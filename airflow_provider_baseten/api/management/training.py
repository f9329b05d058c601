"""Training projects and their jobs."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.body import NUMBER, ONLY_KNOWN, check_body, millis
from airflow_provider_baseten.api.management.call import Call, change, get, reads
from airflow_provider_baseten.api.management.instances import InstanceType
from airflow_provider_baseten.api.management.logs import Direction, LogLevel, LogLine, log_query
from airflow_provider_baseten.api.management.path import segment
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.exceptions import BasetenInputError

Availability = Literal["dedicated", "spot"]

#: Statuses in which a job has ended.
SUCCEEDED: Final = "TRAINING_JOB_COMPLETED"
ENDED: Final = frozenset({SUCCEEDED, "TRAINING_JOB_FAILED", "TRAINING_JOB_DEPLOY_FAILED", "TRAINING_JOB_STOPPED"})
#: Status of a job that waits for capacity.
PENDING: Final = "TRAINING_JOB_PENDING"


class ProjectSummary(Resource):
    """Id and name of a training project."""

    id: str
    name: str = ""


class TrainingJob(Resource):
    """Training job. ``error_message`` also explains why a pending job waits."""

    id: str
    current_status: str
    name: str | None = None
    created_at: Time | None = None
    updated_at: Time | None = None
    error_message: str | None = None
    training_project_id: str | None = None
    training_project: ProjectSummary | None = None
    instance_type: InstanceType | None = None
    node_count: int = 1
    checkpoint_sync_status: str | None = None
    priority: int = 0
    availability_model: str | None = None


class TrainingProject(Resource):
    """Training project."""

    id: str
    name: str
    created_at: Time | None = None
    updated_at: Time | None = None
    team_name: str | None = None
    latest_job: TrainingJob | None = None


class Checkpoint(Resource):
    """Checkpoint that a job has saved."""

    checkpoint_id: str
    training_job_id: str | None = None
    created_at: Time | None = None
    checkpoint_type: str = ""
    base_model: str | None = None
    lora_adapter_config: dict[str, Any] | None = None
    size_bytes: int = 0
    sync_status: str | None = None


class CheckpointFile(Resource):
    """File of a checkpoint; the ``url`` can be read without a key for some time."""

    url: str
    relative_file_name: str
    node_rank: int = 0
    size_bytes: int = 0
    last_modified: str = ""


class CheckpointFiles(Resource):
    """Page of files; ``next_page_token`` is ``None`` on the last page."""

    presigned_urls: list[CheckpointFile]
    next_page_token: int | None = None
    total_count: int = 0


class Capacity(Resource):
    """GPUs that the organization or the team may use."""

    gpu_type: str
    max_gpus: int
    min_gpus: int | None = None
    last_modified: Time | None = None


class QueuedJob(Resource):
    """Job that is ahead in the queue, with ``requested_gpus``, or that uses ``total_gpus``."""

    training_job_id: str
    training_job_name: str | None = None
    instance_type_name: str = ""
    requested_gpus: int | None = None
    total_gpus: int | None = None
    priority: int | None = None
    submitted_at: Time | None = None
    status_at_submit: str | None = None
    status_set_at: Time | None = None


class QueueEvent(Resource):
    """Change of a job while this one waited."""

    training_job_id: str
    training_job_name: str | None = None
    status: str
    created: Time | None = None
    event_message: str | None = None
    exit_code: int | None = None


class QueueContext(Resource):
    """Why a job waits: the capacity, the jobs that use it and the jobs ahead, when the job was submitted."""

    target_job_id: str
    gpu_type: str = ""
    requested_gpus: int | None = None
    submitted_at: Time | None = None
    released_at: Time | None = None
    pending_seconds: int | None = None
    org_capacity: Capacity | None = None
    team_capacity: Capacity | None = None
    active_at_submit: list[QueuedJob] = Field(default_factory=list)
    pending_ahead_at_submit: list[QueuedJob] = Field(default_factory=list)
    events: list[QueueEvent] = Field(default_factory=list)
    events_window_end: Time | None = None


class GpuCapacity(Resource):
    """Capacity of one type of GPU."""

    gpu_type: str
    baseline: int = 0
    limit: int = 0
    usage_count: int = 0
    dedicated_usage_count: int = 0
    spot_usage_count: int = 0


class MetricValue(Resource):
    """Value of a metric at one time."""

    value: float
    timestamp: Time


class TrainingMetrics(Resource):
    """Metrics of a job: use of each GPU by its id, and of the CPUs and the memory."""

    training_job: TrainingJob
    gpu_utilization: dict[str, list[MetricValue]] = Field(default_factory=dict)
    gpu_memory_usage_bytes: dict[str, list[MetricValue]] = Field(default_factory=dict)
    cpu_usage: list[MetricValue] = Field(default_factory=list)
    cpu_memory_usage_bytes: list[MetricValue] = Field(default_factory=list)


class DeletedJob(Resource):
    """Confirmation that a job was deleted."""

    id: str
    training_project_id: str | None = None
    deleted: bool = True


_Text = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, NUMBER, Field(ge=1)]


@with_config(ONLY_KNOWN)
class Image(TypedDict):
    """Container image of a job. ``docker_auth`` names secrets of the workspace, never their values."""

    base_image: _Text
    docker_auth: NotRequired[dict[str, Any] | None]


@with_config(ONLY_KNOWN)
class Accelerator(TypedDict):
    """Type and number of GPUs of a node, for example ``{"accelerator": "H100", "count": 8}``."""

    accelerator: _Text
    count: _Count


@with_config(ONLY_KNOWN)
class Compute(TypedDict, total=False):
    """Compute of a job.

    :param node_count: nodes, by default 1.
    :param cpu_count: CPUs of a node, by default 1.
    :param memory: memory of a node, by default ``2Gi``.
    :param accelerator: GPUs of a node, by default none.
    :param availability_model: ``dedicated`` (default), or ``spot``, which may be preempted.
    """

    node_count: _Count
    cpu_count: _Count
    memory: _Text
    accelerator: Accelerator | None
    availability_model: Availability


@with_config(ONLY_KNOWN)
class SecretReference(TypedDict):
    """Secret of the workspace, by its name."""

    name: _Text


@with_config(ONLY_KNOWN)
class Runtime(TypedDict, total=False):
    """What a job runs.

    :param start_commands: shell commands.
    :param environment_variables: name -> value, or ``{"name": ...}`` for a secret of the workspace.
    :param artifacts: archives with source code, as ``truss train`` uploads them.
    :param cache_config: cache that later jobs of the project share.
    :param checkpointing_config: whether and where the job saves checkpoints.
    :param load_checkpoint_config: checkpoints that the job begins with.
    """

    start_commands: list[str] | None
    environment_variables: dict[str, str | SecretReference] | None
    artifacts: list[dict[str, str]] | None
    enable_cache: bool | None
    cache_config: dict[str, Any] | None
    checkpointing_config: dict[str, Any] | None
    load_checkpoint_config: dict[str, Any] | None


@with_config(ONLY_KNOWN)
class TrainingJobSpec(TypedDict):
    """Training job to create.

    :param image: container image.
    :param compute: by default one CPU.
    :param runtime: what the job runs.
    :param name: name of the job; names need not be unique.
    :param weights: weights of models that the job reads.
    :param priority: jobs with a higher priority start first, by default 0.
    :param interactive_session: session in which a user can log in to the job.
    """

    image: Image
    compute: NotRequired[Compute | None]
    runtime: NotRequired[Runtime | None]
    name: NotRequired[str | None]
    weights: NotRequired[list[dict[str, Any]] | None]
    priority: NotRequired[Annotated[int, NUMBER] | None]
    interactive_session: NotRequired[dict[str, Any] | None]
    enable_baseten_workdir: NotRequired[bool]


@with_config(ONLY_KNOWN)
class TrainingJobUpdate(TypedDict, total=False):
    """Change of a job that is still pending."""

    priority: Annotated[int, NUMBER] | None
    availability_model: Availability | None


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
    body = {"training_job": check_training_job(job)}
    read, subject = reads(TrainingJob, "training_job"), f"creating a training job in project {project_id}"
    return change("POST", f"{_project(project_id)}/jobs", subject, read, body, idempotent=False)


def check_training_job(job: Mapping[str, Any], name: str = "training_job") -> dict[str, Any]:
    """Check a training job, and return it as JSON values.

    :param name: name of the argument.
    :raises BasetenInputError: see :func:`create_training_job`.
    """
    checked: dict[str, Any] = check_body(TrainingJobSpec, name, job)
    return checked


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
