"""Models: list, details, name, deletion."""

from typing import Annotated

from pydantic import Field

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.management.routes import ClosedBody, Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace

Name = Annotated[str, Field(min_length=1, max_length=255)]


class RenameBody(ClosedBody):
    """Body of the requests that rename a model or a deployment."""

    name: Name | None = None


def describe_endpoint(endpoint: Endpoint) -> Content:
    """Return a model in the form of Baseten's API."""
    current = {name: environment.deployment_id for name, environment in endpoint.environments.items()}
    return {
        "id": endpoint.id,
        "created_at": timestamp(endpoint.created_at),
        "name": endpoint.name,
        "deployments_count": len(endpoint.deployments),
        "production_deployment_id": current.get("production"),
        "development_deployment_id": current.get("development"),
        "instance_type_name": endpoint.instance_type.name,
        "team_name": "default",
    }


def is_selected(name: str, request: ManagementRequest) -> bool:
    """Return whether the query parameter ``name`` of a list contains a name, or is missing."""
    return name in request.query.get("name", [name])


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    return {
        "models": [describe_endpoint(model) for model in workspace.models.values() if is_selected(model.name, request)]
    }


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return describe_endpoint(workspace.find_endpoint("model", request.parameters["id"]))


def _rename(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    name = request.body(RenameBody).name
    if name is not None and name != endpoint.name:
        previous, endpoint.name = endpoint.name, name
        workspace.record(request.caller, "MODEL_RENAMED", model_id=endpoint.id, model_name=name, previous_name=previous)
    return describe_endpoint(endpoint)


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    workspace.delete_endpoint(endpoint)
    workspace.record(request.caller, "MODEL_DELETED", model_id=endpoint.id, model_name=endpoint.name)
    return {"id": endpoint.id, "deleted": True}


ROUTES = (
    Route("GET", "models", _list),
    Route("GET", "models/{id}", _get),
    Route("PATCH", "models/{id}", _rename, RenameBody),
    Route("DELETE", "models/{id}", _delete),
)
