"""Chains and their deployments."""

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint, environments_of
from airflow_provider_baseten.emulator.management.deployments import delete_deployment, find_by_id
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.settings import describe_autoscaling
from airflow_provider_baseten.emulator.management.workspace import Workspace


def describe_chain_deployment(endpoint: Endpoint, deployment: Deployment) -> Content:
    """Return a deployment of a chain in the form of Baseten's API. In the emulator, a chain has one chainlet."""
    environments = [environment.name for environment in environments_of(endpoint, deployment.id)]
    chainlet = {
        "id": chainlet_id(deployment),
        "name": endpoint.name,
        "status": deployment.status,
        "active_replica_count": deployment.replicas.ready,
        "autoscaling_settings": describe_autoscaling(deployment.settings),
        "instance_type_name": deployment.instance_type.name,
    }
    return {
        "id": deployment.id,
        "created_at": timestamp(deployment.created_at),
        "chain_id": endpoint.id,
        "environment": next((name for name in environments if name != "development"), None),
        "chainlets": [chainlet],
        "status": deployment.status,
    }


def chainlet_id(deployment: Deployment) -> str:
    """Return the id of the only chainlet of a chain."""
    return f"{deployment.id}c1"


def find_chain_deployment(workspace: Workspace, request: ManagementRequest) -> tuple[Endpoint, Deployment]:
    """Return the chain and the deployment that a path names.

    :raises GatewayError: 404 if there is no such deployment.
    """
    endpoint = workspace.find_endpoint("chain", request.parameters["id"])
    return endpoint, find_by_id(endpoint, request.parameters["deployment_id"])


def record_chain_event(
    workspace: Workspace, request: ManagementRequest, event_type: str, endpoint: Endpoint, **event_data: object
) -> None:
    """Write an entry on a chain to the audit log."""
    workspace.record(request.caller, event_type, chain_id=endpoint.id, chain_name=endpoint.name, **event_data)


def _describe(endpoint: Endpoint) -> Content:
    return {
        "id": endpoint.id,
        "created_at": timestamp(endpoint.created_at),
        "name": endpoint.name,
        "deployments_count": len(endpoint.deployments),
        "team_name": "default",
    }


def _list(workspace: Workspace, _: ManagementRequest) -> Content:
    return {"chains": [_describe(endpoint) for endpoint in workspace.chains.values()]}


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return _describe(workspace.find_endpoint("chain", request.parameters["id"]))


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("chain", request.parameters["id"])
    workspace.delete_endpoint(endpoint)
    record_chain_event(workspace, request, "CHAIN_DELETED", endpoint, chain_deployment_name=None)
    return {"id": endpoint.id, "deleted": True}


def _list_deployments(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("chain", request.parameters["id"])
    return {"deployments": [describe_chain_deployment(endpoint, one) for one in endpoint.deployments.values()]}


def _get_deployment(workspace: Workspace, request: ManagementRequest) -> Content:
    return describe_chain_deployment(*find_chain_deployment(workspace, request))


def _delete_deployment(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = find_chain_deployment(workspace, request)
    delete_deployment(endpoint, deployment)
    record_chain_event(
        workspace,
        request,
        "CHAIN_DEPLOYMENT_DELETED",
        endpoint,
        chain_deployment_id=deployment.id,
        deployment_name=deployment.name,
    )
    return {"id": deployment.id, "deleted": True, "chain_id": endpoint.id}


def _deactivate_deployment(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = find_chain_deployment(workspace, request)
    no_op = deployment.deactivate()
    if not no_op:
        record_chain_event(
            workspace,
            request,
            "CHAIN_DEPLOYMENT_DEACTIVATED",
            endpoint,
            chain_deployment_id=deployment.id,
            chain_deployment_name=deployment.name,
        )
    return {"success": True, "no_op": no_op}


_ONE = "chains/{id}/deployments/{deployment_id}"
ROUTES = (
    Route("GET", "chains", _list),
    Route("GET", "chains/{id}", _get),
    Route("DELETE", "chains/{id}", _delete),
    Route("GET", "chains/{id}/deployments", _list_deployments),
    Route("GET", _ONE, _get_deployment),
    Route("DELETE", _ONE, _delete_deployment),
    Route("POST", f"{_ONE}/deactivate", _deactivate_deployment, per_minute=20),
)
