"""Training projects, jobs and checkpoints, as the management API describes them."""

from typing import Any, Final

from pydantic import Field

from airflow_provider_baseten.api.management.instances import InstanceType
from airflow_provider_baseten.api.management.resource import Resource, Time

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
