"""Training jobs and projects in responses of the management API."""

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.instance_types import InstanceType, make_training_instance_type
from airflow_provider_baseten.emulator.management.routes import Content
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.training.checkpoints import Checkpoint
from airflow_provider_baseten.emulator.training.jobs import (
    ACTIVE_STATUSES,
    PENDING_STATUSES,
    TrainingJob,
    TrainingProject,
)


def get_instance_type(job: TrainingJob) -> InstanceType:
    """Return the instance type of the nodes of a job."""
    recipe = job.recipe
    return make_training_instance_type(recipe.cpu_count, recipe.memory_mib, recipe.accelerator, recipe.gpu_count)


def describe_job(workspace: Workspace, job: TrainingJob) -> Content:
    """Return a training job in the form of Baseten's API."""
    project = workspace.training.projects[job.project_id]
    sync_status = "COMPLETED" if job.has_ended else "SYNCING"
    return {
        "id": job.id,
        "created_at": timestamp(job.created_at),
        "current_status": job.status,
        "error_message": job.error_message,
        "instance_type": get_instance_type(job).as_json(),
        "node_count": job.recipe.node_count,
        "updated_at": timestamp(job.updated_at),
        "training_project_id": project.id,
        "training_project": {"id": project.id, "name": project.name},
        "name": job.name,
        "checkpoint_sync_status": sync_status if job.recipe.saves_checkpoints else None,
        "priority": job.priority,
        "availability_model": job.availability_model,
        "user": {"email": None},
    }


def describe_project(workspace: Workspace, project: TrainingProject) -> Content:
    """Return a training project in the form of Baseten's API."""
    jobs = [job for job in workspace.training.jobs.values() if job.project_id == project.id]
    return {
        "id": project.id,
        "name": project.name,
        "created_at": timestamp(project.created_at),
        "updated_at": timestamp(project.updated_at),
        "team_name": "default",
        "latest_job": describe_job(workspace, jobs[-1]) if jobs else None,
    }


def describe_checkpoint(job: TrainingJob, checkpoint: Checkpoint) -> Content:
    """Return a checkpoint in the form of Baseten's API."""
    adapter = checkpoint.adapter_config
    base_model = (adapter or {}).get("base_model_name_or_path")
    return {
        "checkpoint_id": checkpoint.name,
        "created_at": timestamp(checkpoint.created_at),
        "checkpoint_type": "full" if adapter is None else "lora",
        "base_model": base_model if isinstance(base_model, str) else None,
        "lora_adapter_config": adapter,
        "size_bytes": checkpoint.size,
        "sync_status": "COMPLETED" if job.has_ended else "SYNCING",
        "training_job_id": job.id,
    }


def describe_queue(workspace: Workspace, job: TrainingJob) -> Content:
    """Return why a training job waits or has waited, in the form of Baseten's API."""
    now = workspace.clock.now()
    gpu_type = job.recipe.accelerator or "CPU"
    released = next((time for time, status in job.history if status not in PENDING_STATUSES), None)
    limit = workspace.training.capacity.get(gpu_type)
    since = timestamp(workspace.created_at)
    capacity = {"gpu_type": gpu_type, "max_gpus": limit, "min_gpus": None, "last_modified": since}
    return {
        "target_job_id": job.id,
        "target_job_name": job.name,
        "gpu_type": gpu_type,
        "requested_gpus": job.recipe.total_gpus,
        "submitted_at": timestamp(job.created_at),
        "released_at": None if released is None else timestamp(released),
        "pending_seconds": int((now if released is None else released) - job.created_at),
        "org_capacity": None if limit is None else capacity,
        "team_capacity": None,
        "active_at_submit": [
            {
                "training_job_id": other.id,
                "training_job_name": other.name,
                "instance_type_name": get_instance_type(other).name,
                "total_gpus": other.recipe.total_gpus,
                "workload_plane_name": "local",
                "status_at_submit": status,
                "status_set_at": timestamp(other.time_of(status) or other.created_at),
            }
            for other, status in job.ahead
            if status in ACTIVE_STATUSES
        ],
        "pending_ahead_at_submit": [
            {
                "training_job_id": other.id,
                "training_job_name": other.name,
                "instance_type_name": get_instance_type(other).name,
                "requested_gpus": other.recipe.total_gpus,
                "priority": other.priority,
                "submitted_at": timestamp(other.created_at),
            }
            for other, status in job.ahead
            if status in PENDING_STATUSES
        ],
        "events": [
            {
                "training_job_id": job.id,
                "training_job_name": job.name,
                "status": status,
                "created": timestamp(time),
                "event_message": job.error_message if status == job.status else None,
                "exit_code": None,
            }
            for time, status in job.history
        ],
        "events_window_end": timestamp(now),
    }
