"""Deployments of models: list, details, activation, settings, retry, replicas, deletion."""

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.deployments import Deployment, UpdateStatus
from airflow_provider_baseten.emulator.endpoints import Endpoint, environments_of
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.management.models import RenameBody, is_selected
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.settings import (
    AutoscalingBody,
    BackpressureBody,
    change_autoscaling,
    change_backpressure,
    describe_autoscaling,
    describe_backpressure,
)
from airflow_provider_baseten.emulator.management.workspace import Workspace

_UPDATE_MESSAGES: dict[UpdateStatus, str] = {
    "ACCEPTED": "The autoscaling settings are being updated.",
    "QUEUED": "The autoscaling settings will be updated when the deployment is ready.",
    "UNCHANGED": "The deployment has these autoscaling settings already.",
}
_STABLE_NAMES = ("production", "development")


def describe_deployment(endpoint: Endpoint, deployment: Deployment) -> Content:
    """Return a deployment of a model in the form of Baseten's API."""
    environments = [environment.name for environment in environments_of(endpoint, deployment.id)]
    # Baseten does not count `development` as an environment, so the response never names it. In the emulator,
    # `development` may share its deployment with another environment. Then the response names the other one.
    stable = next((name for name in environments if name != "development"), None)
    return {
        "id": deployment.id,
        "created_at": timestamp(deployment.created_at),
        "name": deployment.name,
        "model_id": endpoint.id,
        "is_production": "production" in environments,
        "is_development": "development" in environments,
        "status": deployment.status,
        "active_replica_count": deployment.replicas.ready,
        "autoscaling_settings": describe_autoscaling(deployment.settings),
        "instance_type_name": deployment.instance_type.name,
        "environment": stable,
        "labels": None,
        "region": None,
        "request_backpressure_settings": describe_backpressure(deployment.settings),
    }


def find_addressed(workspace: Workspace, request: ManagementRequest) -> tuple[Endpoint, Deployment]:
    """Return the model and the deployment that a path names; ``production`` and ``development`` stand for an id.

    :raises GatewayError: 404 if there is no such deployment.
    """
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    named = request.parameters["deployment_id"]
    environment = endpoint.environments.get(named) if named in _STABLE_NAMES else None
    return endpoint, find_by_id(endpoint, environment.deployment_id or "" if environment else named)


def find_by_id(endpoint: Endpoint, deployment_id: str) -> Deployment:
    """Return a deployment of a model or chain.

    :raises GatewayError: 404 if there is no such deployment.
    """
    if deployment_id not in endpoint.deployments:
        raise GatewayError(404, f"{endpoint.kind.capitalize()} {endpoint.id} has no deployment {deployment_id[:80]}.")
    return endpoint.deployments[deployment_id]


def record_model_event(
    workspace: Workspace,
    request: ManagementRequest,
    event_type: str,
    endpoint: Endpoint,
    deployment: Deployment,
    **event_data: object,
) -> None:
    """Write an entry on a deployment of a model to the audit log."""
    workspace.record(
        request.caller,
        event_type,
        model_id=endpoint.id,
        model_name=endpoint.name,
        deployment_id=deployment.id,
        deployment_name=deployment.name,
        **event_data,
    )


def activate(workspace: Workspace, request: ManagementRequest, endpoint: Endpoint, deployment: Deployment) -> Content:
    """Activate a deployment."""
    no_op = deployment.activate()
    if not no_op:
        record_model_event(workspace, request, "MODEL_DEPLOYMENT_ACTIVATED", endpoint, deployment)
    return {"success": True, "no_op": no_op}


def deactivate(workspace: Workspace, request: ManagementRequest, endpoint: Endpoint, deployment: Deployment) -> Content:
    """Deactivate a deployment."""
    no_op = deployment.deactivate()
    if not no_op:
        record_model_event(workspace, request, "MODEL_DEPLOYMENT_DEACTIVATED", endpoint, deployment)
    return {"success": True, "no_op": no_op}


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    selected = (one for one in endpoint.deployments.values() if is_selected(one.name, request))
    return {"deployments": [describe_deployment(endpoint, deployment) for deployment in selected]}


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return describe_deployment(*find_addressed(workspace, request))


def _rename(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = _find_by_path_id(workspace, request)
    deployment.name = request.body(RenameBody).name or deployment.name
    return describe_deployment(endpoint, deployment)


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = _find_by_path_id(workspace, request)
    delete_deployment(endpoint, deployment)
    record_model_event(workspace, request, "MODEL_DEPLOYMENT_DELETED", endpoint, deployment)
    return {"id": deployment.id, "deleted": True, "model_id": endpoint.id}


def delete_deployment(endpoint: Endpoint, deployment: Deployment) -> None:
    """Delete a deployment.

    :raises GatewayError: 400 if the deployment is in an environment or is the only one.
    """
    if environments_of(endpoint, deployment.id):
        raise bad_request(f"Deployment {deployment.id} is in an environment and can't be deleted.")
    if len(endpoint.deployments) == 1:
        raise bad_request(f"Deployment {deployment.id} is the only one and can't be deleted.")
    del endpoint.deployments[deployment.id]
    deployment.deactivate()


def _activate(workspace: Workspace, request: ManagementRequest) -> Content:
    return activate(workspace, request, *find_addressed(workspace, request))


def _deactivate(workspace: Workspace, request: ManagementRequest) -> Content:
    return deactivate(workspace, request, *find_addressed(workspace, request))


def _retry(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = find_addressed(workspace, request)
    status = deployment.status
    retried = deployment.retry()
    record_model_event(workspace, request, "MODEL_DEPLOYMENT_RETRIED", endpoint, deployment, retried=retried)
    reason = None if retried else f"The deployment has not failed; its status is {status}."
    return {"retried": retried, "reason": reason, "deployment": describe_deployment(endpoint, deployment)}


def _update_autoscaling(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = find_addressed(workspace, request)
    body = request.body(AutoscalingBody)
    if request.parameters["deployment_id"] == "development" and (body.min_replica or 0, body.max_replica or 1) != (
        0,
        1,
    ):
        raise bad_request("A development deployment has at most one replica, and at least none.")
    previous = deployment.settings
    settings = change_autoscaling(deployment.newest_settings, body)
    status = deployment.change(settings)
    for environment in environments_of(endpoint, deployment.id):
        environment.settings = settings
        environment.apply_schedules(endpoint.deployments, workspace.clock)
    if status != "UNCHANGED":
        record_model_event(
            workspace,
            request,
            "MODEL_DEPLOYMENT_AUTOSCALING_SETTINGS_CHANGED",
            endpoint,
            deployment,
            schedules=None,
            deployment_type=None,
            **describe_autoscaling(settings),
            previous_settings=describe_autoscaling(previous),
        )
    return {"status": status, "message": _UPDATE_MESSAGES[status]}


def _update_backpressure(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = _find_by_path_id(workspace, request)
    previous = deployment.settings.policy
    settings = change_backpressure(deployment.newest_settings, request.body(BackpressureBody))
    if deployment.change(settings) != "UNCHANGED":
        record_model_event(
            workspace,
            request,
            "MODEL_DEPLOYMENT_REQUEST_BACKPRESSURE_SETTINGS_CHANGED",
            endpoint,
            deployment,
            policy=settings.policy,
            previous_policy=previous,
        )
    return describe_backpressure(settings)


def _terminate_replica(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = _find_by_path_id(workspace, request)
    replica_id = request.parameters["replica_id"]
    if replica_id not in deployment.replica_ids():
        raise GatewayError(404, f"Deployment {deployment.id} has no replica {replica_id[:80]}.")
    deployment.replicas.terminate_one()
    record_model_event(workspace, request, "REPLICA_TERMINATED", endpoint, deployment, replica_id=replica_id)
    return {"success": True}


def _find_by_path_id(workspace: Workspace, request: ManagementRequest) -> tuple[Endpoint, Deployment]:
    """Return the model and the deployment that a path names by its id only."""
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    return endpoint, find_by_id(endpoint, request.parameters["deployment_id"])


_ONE = "models/{id}/deployments/{deployment_id}"
ROUTES = (
    Route("GET", "models/{id}/deployments", _list),
    Route("GET", _ONE, _get),
    Route("PATCH", _ONE, _rename, RenameBody),
    Route("DELETE", _ONE, _delete),
    Route("POST", f"{_ONE}/activate", _activate, per_minute=20),
    Route("POST", f"{_ONE}/deactivate", _deactivate, per_minute=20),
    Route("POST", f"{_ONE}/retry", _retry, per_minute=10),
    Route("PATCH", f"{_ONE}/autoscaling_settings", _update_autoscaling, AutoscalingBody),
    Route("PATCH", f"{_ONE}/request_backpressure_settings", _update_backpressure, BackpressureBody),
    Route("DELETE", f"{_ONE}/replicas/{{replica_id}}", _terminate_replica),
)
