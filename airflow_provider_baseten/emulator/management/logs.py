"""Logs of deployments, environments and chainlets."""

from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.management import chains, deployments
from airflow_provider_baseten.emulator.management.log_queries import (
    LogsBody,
    describe_lines,
    make_log_query,
    read_log_query,
)
from airflow_provider_baseten.emulator.management.promotions import find_environment
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    _, deployment = deployments.find_addressed(workspace, request)
    return describe_lines(read_log_query(request, workspace.clock.now()), deployment.log.lines())


def _post(workspace: Workspace, request: ManagementRequest) -> Content:
    _, deployment = deployments.find_addressed(workspace, request)
    query = make_log_query(request.body(LogsBody), workspace.clock.now())
    return describe_lines(query, deployment.log.lines())


def _get_of_environment(workspace: Workspace, request: ManagementRequest) -> Content:
    """Return lines of the current deployment, and of the one that is being promoted."""
    endpoint, environment = find_environment(workspace, request)
    ids = [environment.deployment_id, environment.promotion.candidate.id if environment.promotion else None]
    found = [endpoint.deployments[id_] for id_ in dict.fromkeys(ids) if id_ in endpoint.deployments]
    lines = sorted((line for deployment in found for line in deployment.log.lines()), key=lambda line: line.time)
    return describe_lines(read_log_query(request, workspace.clock.now()), lines)


def _get_of_chainlet(workspace: Workspace, request: ManagementRequest) -> Content:
    _, deployment = chains.find_chain_deployment(workspace, request)
    if request.parameters["chainlet_id"] != chains.chainlet_id(deployment):
        raise GatewayError(404, f"Deployment {deployment.id} has no such chainlet.")
    return describe_lines(read_log_query(request, workspace.clock.now()), deployment.log.lines())


ROUTES = (
    Route("GET", "models/{id}/deployments/{deployment_id}/logs", _get),
    Route("POST", "models/{id}/deployments/{deployment_id}/logs", _post, LogsBody, per_second=30),
    Route("GET", "models/{id}/environments/{environment}/logs", _get_of_environment),
    Route("GET", "chains/{id}/deployments/{deployment_id}/chainlets/{chainlet_id}/logs", _get_of_chainlet),
)
