"""Training jobs and projects: their data, and their statuses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from airflow_provider_baseten.emulator.logs import Log

JobStatus = Literal[
    "TRAINING_JOB_CREATED",
    "TRAINING_JOB_PENDING",
    "TRAINING_JOB_DEPLOYING",
    "TRAINING_JOB_RUNNING",
    "TRAINING_JOB_COMPLETED",
    "TRAINING_JOB_FAILED",
    "TRAINING_JOB_DEPLOY_FAILED",
    "TRAINING_JOB_STOPPED",
]
AvailabilityModel = Literal["dedicated", "spot"]
LoadedCheckpoint = tuple[str, str | None]

PENDING_STATUSES = frozenset({"TRAINING_JOB_CREATED", "TRAINING_JOB_PENDING"})
ACTIVE_STATUSES = frozenset({"TRAINING_JOB_DEPLOYING", "TRAINING_JOB_RUNNING"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training job runs.

    :param start_commands: commands, which a shell runs one after the other until one fails.
    :param environment: environment variables, with the values of secrets.
    :param saves_checkpoints: whether the job has a folder for checkpoints.
    :param loaded_checkpoints: id of a training job and name of its checkpoint, or ``None`` for its newest one.
    :param accelerator: kind of the GPUs of a node, ``None`` without GPU.
    :param gpu_count: number of GPUs of a node.
    :param cpu_count: number of CPU cores of a node.
    :param memory_mib: memory of a node in MiB.
    :param node_count: number of nodes. Each runs the commands.
    """

    start_commands: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    saves_checkpoints: bool = False
    loaded_checkpoints: Sequence[LoadedCheckpoint] = ()
    accelerator: str | None = None
    gpu_count: int = 0
    cpu_count: int = 1
    memory_mib: int = 2048
    node_count: int = 1

    @property
    def total_gpus(self) -> int:
        """Number of GPUs of all nodes."""
        return self.gpu_count * self.node_count


@dataclass(slots=True, eq=False)
class TrainingJob:
    """Training job.

    :param id: id of the job.
    :param project_id: id of its project.
    :param name: name; several jobs can have the same.
    :param recipe: what the job runs.
    :param folder: folder of the job on this machine.
    :param created_at: time of creation in seconds since the epoch.
    :param priority: jobs with a higher priority start first.
    :param availability_model: ``dedicated`` or ``spot``.
    :param status: status of the job.
    :param updated_at: time of the last change.
    :param error_message: why the job failed, or why it waits.
    :param history: times of all statuses.
    :param ahead: jobs that ran or waited for the same GPUs when this one was created, with their statuses then.
    :param log: output of the job.
    :param files_token: secret part of the URLs of its files.
    """

    id: str
    project_id: str
    name: str | None
    recipe: Recipe
    folder: Path
    created_at: float
    priority: int = 0
    availability_model: AvailabilityModel = "dedicated"
    status: JobStatus = "TRAINING_JOB_CREATED"
    updated_at: float = 0.0
    error_message: str | None = None
    history: list[tuple[float, JobStatus]] = field(default_factory=list)
    ahead: list[tuple["TrainingJob", JobStatus]] = field(default_factory=list)
    log: Log = field(default_factory=Log, repr=False)
    files_token: str = field(default_factory=lambda: uuid4().hex, repr=False)

    def __post_init__(self) -> None:
        self.set_status("TRAINING_JOB_CREATED", self.created_at)

    @property
    def is_pending(self) -> bool:
        """Whether the job waits for its start."""
        return self.status in PENDING_STATUSES

    @property
    def is_active(self) -> bool:
        """Whether the job occupies its nodes."""
        return self.status in ACTIVE_STATUSES

    @property
    def has_ended(self) -> bool:
        """Whether the job has reached its last status."""
        return not self.is_pending and not self.is_active

    @property
    def checkpoint_folder(self) -> Path:
        """Folder with the checkpoints, one folder for each node."""
        return self.folder / "checkpoints"

    def set_status(self, status: JobStatus, now: float, error_message: str | None = None) -> None:
        """Change the status, and record the time of the change in seconds since the epoch."""
        self.status, self.updated_at, self.error_message = status, now, error_message
        self.history.append((now, status))

    def time_of(self, status: JobStatus) -> float | None:
        """Return the time at which the job reached a status, ``None`` if it has not."""
        return next((time for time, reached in self.history if reached == status), None)


@dataclass(slots=True, eq=False)
class TrainingProject:
    """Training project.

    :param id: id of the project.
    :param name: name, which no other project has.
    :param created_at: time of creation in seconds since the epoch.
    :param updated_at: time at which the project was last created again by its name.
    """

    id: str
    name: str
    created_at: float
    updated_at: float


def select_startable(
    jobs: Iterable[TrainingJob], capacity: Mapping[str, int], *, is_held: bool
) -> tuple[list[TrainingJob], dict[str, str]]:
    """Decide which pending jobs start: those with the highest priority, then the oldest, as far as GPUs are free.

    A job that does not fit lets no later job with the same kind of GPU start.

    :param jobs: all jobs.
    :param capacity: number of GPUs by their kind. There is no limit for a kind that is missing.
    :param is_held: whether no job may start.
    :returns: the jobs that start, and the reason for each that waits, by its id.
    """
    all_jobs = list(jobs)
    used = count_gpus(all_jobs)
    blocked: set[str] = set()
    started: list[TrainingJob] = []
    reasons: dict[str, str] = {}
    for job in sorted((job for job in all_jobs if job.is_pending), key=lambda job: (-job.priority, job.created_at)):
        gpu_type = job.recipe.accelerator or ""
        free = capacity[gpu_type] - used.get(gpu_type, 0) if gpu_type in capacity else job.recipe.total_gpus
        if is_held:
            reasons[job.id] = "Training jobs wait for capacity."
        elif gpu_type in blocked or free < job.recipe.total_gpus:
            blocked.add(gpu_type)
            reasons[job.id] = f"The job waits for {job.recipe.total_gpus} GPUs of the type {gpu_type}; {free} are free."
        else:
            used[gpu_type] = used.get(gpu_type, 0) + job.recipe.total_gpus
            started.append(job)
    return started, reasons


def count_gpus(jobs: Iterable[TrainingJob], availability_model: AvailabilityModel | None = None) -> dict[str, int]:
    """Return the number of GPUs that active jobs occupy, by the kind of GPU.

    :param jobs: the jobs.
    :param availability_model: count only jobs of this kind, by default all.
    """
    used: dict[str, int] = {}
    for job in jobs:
        if job.is_active and availability_model in {None, job.availability_model}:
            gpu_type = job.recipe.accelerator or ""
            used[gpu_type] = used.get(gpu_type, 0) + job.recipe.total_gpus
    return used


def order_jobs(jobs: Iterable[TrainingJob], order_by: Sequence[tuple[str, str]]) -> list[TrainingJob]:
    """Return jobs in an order.

    :param jobs: the jobs.
    :param order_by: field and ``asc`` or ``desc``, the most important first.
    :raises KeyError: a field that jobs can't be ordered by.
    """
    keys: dict[str, Any] = {
        "created_at": lambda job: job.created_at,
        "updated_at": lambda job: job.updated_at,
        "priority": lambda job: job.priority,
        "name": lambda job: job.name or "",
        "id": lambda job: job.id,
    }
    ordered = list(jobs)
    for name, order in reversed(order_by):
        ordered.sort(key=keys[name], reverse=order == "desc")
    return ordered
