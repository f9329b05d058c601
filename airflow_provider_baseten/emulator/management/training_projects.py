"""Training projects, the search for jobs, and the capacity for jobs."""

from collections.abc import Iterable

from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.training_bodies import ProjectBody, SearchBody
from airflow_provider_baseten.emulator.management.training_content import describe_job, describe_project, describe_queue
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.training.jobs import TrainingJob, TrainingProject, count_gpus, order_jobs


def find_project(workspace: Workspace, request: ManagementRequest) -> TrainingProject:
    """Return the project that a path names.

    :raises GatewayError: 404 if there is no such project.
    """
    id_ = request.parameters["project_id"]
    if id_ not in workspace.training.projects:
        raise GatewayError(404, f"Training project {id_[:80]} does not exist.")
    return workspace.training.projects[id_]


def describe_jobs(workspace: Workspace, jobs: Iterable[TrainingJob]) -> Content:
    """Return a list of training jobs in the form of Baseten's API."""
    return {"training_jobs": [describe_job(workspace, job) for job in jobs]}


def _upsert(workspace: Workspace, request: ManagementRequest) -> Content:
    project = workspace.training.upsert_project(request.body(ProjectBody).training_project.name)
    return {"training_project": describe_project(workspace, project)}


def _list(workspace: Workspace, _: ManagementRequest) -> Content:
    projects = workspace.training.projects.values()
    return {"training_projects": [describe_project(workspace, project) for project in projects]}


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return {"training_project": describe_project(workspace, find_project(workspace, request))}


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    project = find_project(workspace, request)
    jobs = [job for job in workspace.training.jobs.values() if job.project_id == project.id]
    if any(not job.has_ended for job in jobs):
        raise bad_request(f"Training project {project.id} has jobs that have not ended; stop them first.")
    workspace.training.delete_project(project)
    return {"id": project.id, "deleted": True}


def _search(workspace: Workspace, request: ManagementRequest) -> Content:
    body = request.body(SearchBody)
    selected = (
        job
        for job in workspace.training.jobs.values()
        if body.project_id in {None, job.project_id}
        and body.job_id in {None, job.id}
        and (body.statuses is None or job.status in body.statuses)
    )
    order_by = [(order.field, order.order) for order in body.order_by]
    if not {order for _, order in order_by} <= {"asc", "desc"}:
        raise bad_request("order must be asc or desc.")
    try:
        return describe_jobs(workspace, order_jobs(selected, order_by))
    except KeyError:
        raise bad_request("Training jobs can be ordered by created_at, updated_at, priority, name and id.") from None


def _get_capacity(workspace: Workspace, _: ManagementRequest) -> Content:
    training = workspace.training
    jobs = list(training.jobs.values())
    used, dedicated, spot = count_gpus(jobs), count_gpus(jobs, "dedicated"), count_gpus(jobs, "spot")
    return {
        "gpu_capacities": [
            {
                "gpu_type": gpu_type,
                "baseline": limit,
                "limit": limit,
                "usage_count": used.get(gpu_type, 0),
                "dedicated_usage_count": dedicated.get(gpu_type, 0),
                "spot_usage_count": spot.get(gpu_type, 0),
            }
            for gpu_type, limit in training.capacity.items()
        ],
        "team_gpu_capacities": None,
    }


def _get_queue_context(workspace: Workspace, request: ManagementRequest) -> Content:
    id_ = request.parameters["job_id"]
    if id_ not in workspace.training.jobs:
        raise GatewayError(404, f"Training job {id_[:80]} does not exist.")
    return describe_queue(workspace, workspace.training.jobs[id_])


ROUTES = (
    Route("GET", "training_projects", _list),
    Route("POST", "training_projects", _upsert, ProjectBody),
    Route("POST", "teams/{team_id}/training_projects", _upsert, ProjectBody),
    Route("GET", "training_projects/{project_id}", _get),
    Route("DELETE", "training_projects/{project_id}", _delete),
    Route("POST", "training_jobs/search", _search, SearchBody),
    Route("GET", "training/capacity", _get_capacity),
    Route("GET", "training/jobs/{job_id}/queue_context", _get_queue_context),
)
