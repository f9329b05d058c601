"""Training jobs: creation, status, stop, logs, metrics and checkpoints."""

from urllib.parse import quote

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.management.log_queries import (
    TrainingLogsBody,
    describe_lines,
    make_log_query,
    read_log_query,
)
from airflow_provider_baseten.emulator.management.queries import read_integer
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, RequestBody, Route
from airflow_provider_baseten.emulator.management.training_bodies import (
    JobBody,
    JobChangeBody,
    MetricsBody,
    make_recipe,
)
from airflow_provider_baseten.emulator.management.training_content import (
    describe_checkpoint,
    describe_job,
    describe_project,
)
from airflow_provider_baseten.emulator.management.training_projects import describe_jobs, find_project
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.training.checkpoints import list_checkpoints, list_files
from airflow_provider_baseten.emulator.training.jobs import TrainingJob


class _EmptyBody(RequestBody):
    """Body without fields."""


def _find(workspace: Workspace, request: ManagementRequest) -> TrainingJob:
    project, id_ = find_project(workspace, request), request.parameters["job_id"]
    job = workspace.training.jobs.get(id_)
    if job is None or job.project_id != project.id:
        raise GatewayError(404, f"Training project {project.id} has no job {id_[:80]}.")
    return job


def _create(workspace: Workspace, request: ManagementRequest) -> Content:
    if not workspace.runs_training:
        raise GatewayError(403, "Training jobs run only for this machine or with an API key; start it with one.")
    project, body = find_project(workspace, request), request.body(JobBody).training_job
    job = workspace.training.create_job(
        project.id,
        make_recipe(workspace, project, body),
        name=body.name,
        priority=body.priority or 0,
        availability_model=body.compute.availability_model if body.compute else "dedicated",
    )
    return {"training_job": describe_job(workspace, job)}


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    project = find_project(workspace, request)
    jobs = [job for job in workspace.training.jobs.values() if job.project_id == project.id]
    return {"training_project": describe_project(workspace, project), **describe_jobs(workspace, jobs)}


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    job = _find(workspace, request)
    project = describe_project(workspace, workspace.training.projects[job.project_id])
    return {"training_project": project, "training_job": describe_job(workspace, job)}


def _stop(workspace: Workspace, request: ManagementRequest) -> Content:
    job = _find(workspace, request)
    if job.has_ended:
        raise bad_request(f"Training job {job.id} has ended already ({job.status}).")
    workspace.training.stop_job(job)
    return {"training_job": describe_job(workspace, job)}


def _recreate(workspace: Workspace, request: ManagementRequest) -> Content:
    return {"training_job": describe_job(workspace, workspace.training.recreate_job(_find(workspace, request)))}


def _change(workspace: Workspace, request: ManagementRequest) -> Content:
    job, body = _find(workspace, request), request.body(JobChangeBody)
    if not job.is_pending:
        raise bad_request(f"Training job {job.id} can't be changed, because it is not pending ({job.status}).")
    job.priority = job.priority if body.priority is None else body.priority
    job.availability_model = body.availability_model or job.availability_model
    job.updated_at = workspace.clock.now()
    return {"training_job": describe_job(workspace, job)}


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    job = _find(workspace, request)
    if not job.has_ended:
        raise bad_request(f"Training job {job.id} has not ended; stop it first.")
    workspace.training.delete_job(job)
    return {"id": job.id, "deleted": True, "training_project_id": job.project_id}


def _get_logs(workspace: Workspace, request: ManagementRequest) -> Content:
    return describe_lines(read_log_query(request, workspace.clock.now()), _find(workspace, request).log.lines())


def _post_logs(workspace: Workspace, request: ManagementRequest) -> Content:
    query = make_log_query(request.body(TrainingLogsBody), workspace.clock.now())
    return describe_lines(query, _find(workspace, request).log.lines())


def _get_metrics(workspace: Workspace, request: ManagementRequest) -> Content:
    """Return the metrics, which are all empty: the emulator measures nothing of the process."""
    empty: Content = {
        "gpu_memory_usage_bytes": {},
        "gpu_utilization": {},
        "cpu_usage": [],
        "cpu_memory_usage_bytes": [],
        "ephemeral_storage": {"usage_bytes": [], "utilization": []},
    }
    job = describe_job(workspace, _find(workspace, request))
    return {**empty, "training_job": job, "cache": None, "per_node_metrics": []}


def _list_checkpoints(workspace: Workspace, request: ManagementRequest) -> Content:
    job = _find(workspace, request)
    checkpoints = [describe_checkpoint(job, checkpoint) for checkpoint in list_checkpoints(job)]
    return {"training_job": describe_job(workspace, job), "checkpoints": checkpoints}


def _list_checkpoint_files(workspace: Workspace, request: ManagementRequest) -> Content:
    job = _find(workspace, request)
    size = read_integer(request, "page_size", 1) or 1000
    first = (read_integer(request, "page_token", 0) or 0) * size
    files = list_files(job)
    base_url = f"{request.base_url}/training_files/{job.files_token}"
    return {
        "presigned_urls": [
            {
                "url": f"{base_url}/{file.node_rank}/{quote(file.name)}",
                "relative_file_name": file.name,
                "node_rank": file.node_rank,
                "size_bytes": file.size,
                "last_modified": timestamp(file.modified_at),
            }
            for file in files[first : first + size]
        ],
        "next_page_token": first // size + 1 if first + size < len(files) else None,
        "total_count": len(files),
    }


def _list_artifacts(workspace: Workspace, request: ManagementRequest) -> Content:
    _find(workspace, request)
    return {"artifact_presigned_urls": []}


_ALL = "training_projects/{project_id}/jobs"
_ONE = f"{_ALL}/{{job_id}}"
ROUTES = (
    Route("GET", _ALL, _list),
    Route("POST", _ALL, _create, JobBody),
    Route("GET", _ONE, _get),
    Route("PATCH", _ONE, _change, JobChangeBody),
    Route("DELETE", _ONE, _delete),
    Route("POST", f"{_ONE}/stop", _stop, _EmptyBody),
    Route("POST", f"{_ONE}/recreate", _recreate),
    Route("GET", f"{_ONE}/logs", _get_logs),
    Route("POST", f"{_ONE}/logs", _post_logs, TrainingLogsBody, per_second=30),
    Route("GET", f"{_ONE}/metrics", _get_metrics),
    Route("POST", f"{_ONE}/metrics", _get_metrics, MetricsBody),
    Route("GET", f"{_ONE}/checkpoints", _list_checkpoints),
    Route("GET", f"{_ONE}/checkpoint_files", _list_checkpoint_files),
    Route("GET", f"{_ONE}/download", _list_artifacts),
)
