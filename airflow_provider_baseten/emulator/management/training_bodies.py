"""Request bodies of the training API, as far as the emulator reads them."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import RequestBody
from airflow_provider_baseten.emulator.management.settings import Positive
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.training.jobs import AvailabilityModel, LoadedCheckpoint, Recipe, TrainingProject

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(Mi|Gi|Ti|M|G|T)?")
_MEBIBYTES = {None: 1 / 1_048_576, "Mi": 1, "Gi": 1024, "Ti": 1_048_576, "M": 0.953674, "G": 953.674, "T": 953_674.0}


class _Project(RequestBody):
    name: Annotated[str, Field(min_length=1)]


class ProjectBody(RequestBody):
    """Body that creates a training project."""

    training_project: _Project


class _SecretReference(RequestBody):
    name: str


class _Image(RequestBody):
    base_image: str
    docker_auth: dict[str, Any] | None = None


class _Accelerator(RequestBody):
    accelerator: str
    count: Positive


class _Compute(RequestBody):
    node_count: Positive = 1
    cpu_count: Positive = 1
    memory: str = "2Gi"
    accelerator: _Accelerator | None = None
    availability_model: AvailabilityModel = "dedicated"


class _Checkpointing(RequestBody):
    enabled: bool = False
    checkpoint_path: str | None = None
    volume_size_gib: int | None = None


class _Checkpoint(RequestBody):
    typ: Literal["baseten_latest_checkpoint", "baseten_named_checkpoint", "loops_checkpoint"]
    project_name: str | None = None
    job_id: str | None = None
    checkpoint_name: str | None = None


class _LoadCheckpoint(RequestBody):
    enabled: bool = False
    download_folder: str = "/tmp/loaded_checkpoints"  # noqa: S108 - Baseten's default; the emulator ignores the field.
    checkpoints: list[_Checkpoint] | None = None


class _Runtime(RequestBody):
    start_commands: list[str] | None = None
    environment_variables: dict[str, str | _SecretReference] | None = None
    artifacts: list[dict[str, Any]] | None = None
    enable_cache: bool | None = None
    cache_config: dict[str, Any] | None = None
    checkpointing_config: _Checkpointing | None = None
    load_checkpoint_config: _LoadCheckpoint | None = None


class _Job(RequestBody):
    image: _Image
    compute: _Compute | None = None
    runtime: _Runtime | None = None
    name: str | None = None
    truss_user_env: dict[str, Any] | None = None
    interactive_session: dict[str, Any] | None = None
    weights: list[dict[str, Any]] | None = None
    enable_baseten_workdir: bool = False
    priority: int | None = None


class JobBody(RequestBody):
    """Body that creates a training job."""

    training_job: _Job


class JobChangeBody(RequestBody):
    """Body that changes a pending training job."""

    priority: int | None = None
    availability_model: AvailabilityModel | None = None


class _OrderBy(RequestBody):
    field: str
    order: str


class SearchBody(RequestBody):
    """Body that searches training jobs."""

    project_id: str | None = None
    job_id: str | None = None
    statuses: list[str] | None = None
    order_by: list[_OrderBy] = Field(default_factory=lambda: [_OrderBy(field="created_at", order="desc")])


class MetricsBody(RequestBody):
    """Body that asks for the metrics of a training job."""

    start_epoch_millis: int | None = None
    end_epoch_millis: int | None = None
    step_seconds: int | None = None


def make_recipe(workspace: Workspace, project: TrainingProject, job: _Job) -> Recipe:
    """Return what a new training job runs.

    :raises GatewayError: 400 for a secret, a checkpoint's job or an amount of memory that does not exist.
    """
    runtime, compute = job.runtime or _Runtime(), job.compute or _Compute()
    return Recipe(
        start_commands=runtime.start_commands or (),
        environment=_resolve_secrets(workspace, runtime.environment_variables or {}),
        saves_checkpoints=runtime.checkpointing_config is not None and runtime.checkpointing_config.enabled,
        loaded_checkpoints=_find_checkpoints(workspace, project, runtime.load_checkpoint_config),
        accelerator=compute.accelerator.accelerator if compute.accelerator else None,
        gpu_count=compute.accelerator.count if compute.accelerator else 0,
        cpu_count=compute.cpu_count,
        memory_mib=_parse_memory(compute.memory),
        node_count=compute.node_count,
    )


def _resolve_secrets(workspace: Workspace, variables: dict[str, str | _SecretReference]) -> dict[str, str]:
    resolved = {}
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name or (isinstance(value, str) and "\0" in value):
            raise bad_request("An environment variable has a name or value that is not valid.")
        if isinstance(value, str):
            resolved[name] = value
        elif value.name in workspace.secrets:
            resolved[name] = workspace.secrets[value.name]
        else:
            raise bad_request(f"There is no secret {value.name[:80]}.")
    return resolved


def _find_checkpoints(
    workspace: Workspace, project: TrainingProject, config: _LoadCheckpoint | None
) -> list[LoadedCheckpoint]:
    if config is None or not config.enabled:
        return []
    return [_find_checkpoint(workspace, project, checkpoint) for checkpoint in config.checkpoints or ()]


def _find_checkpoint(workspace: Workspace, project: TrainingProject, checkpoint: _Checkpoint) -> LoadedCheckpoint:
    projects = workspace.training.projects.values()
    name = checkpoint.project_name or project.name
    project_ids = {one.id for one in projects if one.name == name}
    jobs = [
        job
        for job in workspace.training.jobs.values()
        if (job.project_id in project_ids if checkpoint.job_id is None else job.id == checkpoint.job_id)
    ]
    if not jobs or checkpoint.typ == "loops_checkpoint":
        raise bad_request("There is no training job with a checkpoint to load.")
    return jobs[-1].id, checkpoint.checkpoint_name


def _parse_memory(text: str) -> int:
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise bad_request("memory must be a number with a unit, for example 2Gi.")
    return max(1, round(float(match[1]) * _MEBIBYTES[match[2]]))
