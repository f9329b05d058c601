"""The part of the management API that reads users, models, chains and their deployments."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.deployments import Deployment, Endpoint
from airflow_provider_baseten.emulator.errors import GatewayError

_PATH = re.compile(r"users/me|(models|chains)(?:/([^/]+)(?:/(deployments)(?:/([^/]+))?)?)?")
_USER = {"user_id": "emulator", "email": None, "name": "Emulator", "workspace_name": "emulator"}
_INSTANCE_TYPE = "1x2"


def respond(
    method: str, path: str, query: str, models: Mapping[str, Endpoint], chains: Mapping[str, Endpoint]
) -> dict[str, Any]:
    """Return the JSON content of the answer to a management call.

    :param method: HTTP method.
    :param path: path without ``/v1/``.
    :param query: query string.
    :param models: models by id.
    :param chains: chains by id.
    :raises GatewayError: 404 for a path, or something it names, that does not exist; 405 for another method than GET.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise GatewayError(404, f"No such path: /v1/{path[:200]}")
    if method != "GET":
        raise GatewayError(405, f"{method} is not allowed here.", None, {"Allow": "GET"})
    collection, id_, deployments, deployment_id = match.groups()
    if collection is None:
        return _USER
    endpoints = models if collection == "models" else chains
    names = parse_qs(query).get("name")
    if id_ is None:
        return {collection: [_endpoint(e) for e in endpoints.values() if names is None or e.name in names]}
    endpoint = endpoints.get(id_)
    if endpoint is None:
        raise GatewayError(404, f"{collection.capitalize()[:-1]} {id_[:80]} does not exist.")
    if deployments is None:
        return _endpoint(endpoint)
    if deployment_id is None:
        all_ = endpoint.deployments.values()
        return {"deployments": [_deployment(endpoint, d) for d in all_ if names is None or _name(d) in names]}
    return _deployment(endpoint, _find(endpoint, deployment_id))


def _find(endpoint: Endpoint, deployment_id: str) -> Deployment:
    # Only a model's deployments can be named so.
    if endpoint.kind == "model" and deployment_id in {"production", "development"}:
        found = endpoint.deployments.get(endpoint.environments.get(deployment_id, ""))
    else:
        found = endpoint.deployments.get(deployment_id)
    if found is None:
        raise GatewayError(404, f"{endpoint.kind.capitalize()} {endpoint.id} has no deployment {deployment_id[:80]}.")
    return found


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    content = {
        "id": endpoint.id,
        "created_at": timestamp(endpoint.created_at),
        "name": endpoint.name,
        "deployments_count": len(endpoint.deployments),
        "team_name": "default",
    }
    if endpoint.kind == "chain":
        return content
    return content | {
        "production_deployment_id": endpoint.environments.get("production"),
        "development_deployment_id": endpoint.environments.get("development"),
        "instance_type_name": _INSTANCE_TYPE,
    }


def _deployment(endpoint: Endpoint, deployment: Deployment) -> dict[str, Any]:
    running = {
        "status": deployment.status,
        "active_replica_count": deployment.replicas.ready,
        "autoscaling_settings": _autoscaling_settings(deployment),
        "instance_type_name": _INSTANCE_TYPE,
    }
    # Development shares a deployment here, and is no environment of Baseten's.
    environments = [name for name, id_ in endpoint.environments.items() if id_ == deployment.id]
    stable = next((name for name in environments if name != "development"), None)
    content = {"id": deployment.id, "created_at": timestamp(endpoint.created_at), "environment": stable}
    if endpoint.kind == "chain":
        chainlet = {"id": f"{deployment.id}c1", "name": endpoint.name, **running}
        return content | {"chain_id": endpoint.id, "status": deployment.status, "chainlets": [chainlet]}
    return content | {
        "model_id": endpoint.id,
        "name": _name(deployment),
        "is_production": "production" in environments,
        "is_development": "development" in environments,
        **running,
    }


def _name(deployment: Deployment) -> str:
    return f"deployment-{deployment.id}"


def _autoscaling_settings(deployment: Deployment) -> dict[str, Any]:
    scaling = deployment.replicas.scaling
    return {
        "min_replica": scaling.min_replica,
        "max_replica": scaling.max_replica,
        "autoscaling_window": 60,
        "scale_down_delay": int(scaling.scale_down_delay),
        # The emulator may take any number of requests at once, which Baseten has no word for.
        "concurrency_target": scaling.concurrency_target or 1,
        "target_utilization_percentage": 70,
    }
