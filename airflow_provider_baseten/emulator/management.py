"""The part of the management API that reads users and models."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.deployments import Endpoint
from airflow_provider_baseten.emulator.errors import GatewayError


def respond(method: str, path: str, query: str, models: Mapping[str, Endpoint]) -> dict[str, Any]:
    """Return the JSON content of the answer to a management call.

    :param method: HTTP method.
    :param path: path without ``/v1/``.
    :param query: query string.
    :param models: models by id.
    :raises GatewayError: 404 for a path or a model that does not exist, 405 for another method than GET.
    """
    collection, _, id_ = path.partition("/")
    if path != "users/me" and (collection != "models" or "/" in id_):
        raise GatewayError(404, f"No such path: /v1/{path[:200]}")
    if method != "GET":
        raise GatewayError(405, f"{method} is not allowed here.", None, {"Allow": "GET"})
    if path == "users/me":
        return {"user_id": "emulator", "email": None, "name": "Emulator", "workspace_name": "emulator"}
    if not id_:
        names = parse_qs(query).get("name")
        return {"models": [_model(model) for model in models.values() if names is None or model.name in names]}
    if id_ not in models:
        raise GatewayError(404, f"Model {id_} does not exist.")
    return _model(models[id_])


def _model(model: Endpoint) -> dict[str, Any]:
    return {
        "id": model.id,
        "created_at": timestamp(model.created_at),
        "name": model.name,
        "deployments_count": len(model.deployments),
        "production_deployment_id": model.environments.get("production"),
        "development_deployment_id": model.environments.get("development"),
        "instance_type_name": "1x2",
        "team_name": "default",
    }
