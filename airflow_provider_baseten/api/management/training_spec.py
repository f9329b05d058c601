"""Specification of a training job: what to run, and on which machines."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.body import NUMBER, ONLY_KNOWN, check_body

Availability = Literal["dedicated", "spot"]

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


def check_training_job(job: Mapping[str, Any], name: str = "training_job") -> dict[str, Any]:
    """Check a training job, and return it as JSON values.

    :param name: name of the argument.
    :raises BasetenInputError: the job has an unknown field, lacks one, or a value is not valid.
    """
    checked: dict[str, Any] = check_body(TrainingJobSpec, name, job)
    return checked
