"""Management API, read-only: information on the user, the models, the chains, their deployments and Model APIs."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.deployments import Deployment, Endpoint
from airflow_provider_baseten.emulator.errors import GatewayError

_USER = {"user_id": "emulator", "email": None, "name": "Emulator", "workspace_name": "emulator"}
_INSTANCE_TYPE = "1x2"

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManagementRequest:
    """Request to the management API.

    :param parameters: name of a placeholder in the route's path -> its value in the request.
    :param names: values of the query parameter ``name``, which filters lists; ``None`` if the parameter is missing.
    """

    parameters: Mapping[str, str]
    names: list[str] | None


class ManagementRoute:
    """Route of the management API: a method, a path, and the function that makes the content of the response.

    :param method: HTTP method.
    :param path: path without ``/v1/``, with placeholders such as ``{id}``; only ``{slug}`` may stand for a slash.
    :param handler: function that returns the JSON content of the response.
    """

    def __init__(self, method: str, path: str, handler: Callable[[ManagementRequest], Content]) -> None:
        self.method = method
        self.handler = handler
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("{slug}", "(?P<slug>.+)")))

    def match(self, path: str) -> dict[str, str] | None:
        """Return the values of the placeholders, ``None`` if the path does not match."""
        match = self._pattern.fullmatch(path)
        return None if match is None else match.groupdict()


class ManagementApi:
    """Management API: its routes, and the responses to requests.

    :param models: models by id.
    :param chains: chains by id.
    :param model_apis: content of the responses on the Model APIs, by slug.
    """

    def __init__(
        self, models: Mapping[str, Endpoint], chains: Mapping[str, Endpoint], model_apis: Mapping[str, Content]
    ) -> None:
        self._model_apis = model_apis
        self._routes = [
            ManagementRoute("GET", "users/me", lambda _: _USER),
            *_Collection("models", models).routes(),
            *_Collection("chains", chains).routes(),
            ManagementRoute("GET", "model_apis", self._list_model_apis),
            ManagementRoute("GET", "model_apis/{slug}", self._get_model_api),
        ]

    def respond(self, method: str, path: str, query: str) -> Content:
        """Return the JSON content of the response.

        :param method: HTTP method.
        :param path: path without ``/v1/``.
        :param query: query string.
        :raises GatewayError: 404 for an unknown path or resource, 405 for a method that the path does not support.
        """
        matching = [(route, match) for route in self._routes if (match := route.match(path)) is not None]
        if not matching:
            raise GatewayError(404, f"No such path: /v1/{path[:200]}")
        for route, parameters in matching:
            if route.method == method:
                return route.handler(ManagementRequest(parameters, parse_qs(query).get("name")))
        allowed = ", ".join(route.method for route, _ in matching)
        raise GatewayError(405, f"{method} is not allowed here, use {allowed}.", None, {"Allow": allowed})

    def _list_model_apis(self, _: ManagementRequest) -> Content:
        return {"items": list(self._model_apis.values()), "pagination": {"has_more": False, "cursor": None}}

    def _get_model_api(self, request: ManagementRequest) -> Content:
        slug = request.parameters["slug"]
        if slug not in self._model_apis:
            raise GatewayError(404, f"Model API {slug[:80]} does not exist.")
        return self._model_apis[slug]


class _Collection:
    """Routes of the models or of the chains."""

    def __init__(self, name: Literal["models", "chains"], endpoints: Mapping[str, Endpoint]) -> None:
        self._name = name
        self._endpoints = endpoints

    def routes(self) -> Iterable[ManagementRoute]:
        one = f"{self._name}/{{id}}"
        return (
            ManagementRoute("GET", self._name, self._list),
            ManagementRoute("GET", one, self._get),
            ManagementRoute("GET", f"{one}/deployments", self._list_deployments),
            ManagementRoute("GET", f"{one}/deployments/{{deployment_id}}", self._get_deployment),
        )

    def _list(self, request: ManagementRequest) -> Content:
        endpoints = self._endpoints.values()
        return {self._name: [_endpoint_content(e) for e in endpoints if _is_selected(e.name, request)]}

    def _get(self, request: ManagementRequest) -> Content:
        return _endpoint_content(self._find(request))

    def _list_deployments(self, request: ManagementRequest) -> Content:
        endpoint = self._find(request)
        selected = (d for d in endpoint.deployments.values() if _is_selected(_deployment_name(d), request))
        return {"deployments": [_deployment_content(endpoint, deployment) for deployment in selected]}

    def _get_deployment(self, request: ManagementRequest) -> Content:
        endpoint = self._find(request)
        return _deployment_content(endpoint, _find_deployment(endpoint, request.parameters["deployment_id"]))

    def _find(self, request: ManagementRequest) -> Endpoint:
        id_ = request.parameters["id"]
        if id_ not in self._endpoints:
            raise GatewayError(404, f"{self._name.capitalize()[:-1]} {id_[:80]} does not exist.")
        return self._endpoints[id_]


def _is_selected(name: str, request: ManagementRequest) -> bool:
    return request.names is None or name in request.names


def _find_deployment(endpoint: Endpoint, deployment_id: str) -> Deployment:
    # For models only, "production" and "development" may take the place of a deployment's id in the path.
    if endpoint.kind == "model" and deployment_id in {"production", "development"}:
        found = endpoint.deployments.get(endpoint.environments.get(deployment_id, ""))
    else:
        found = endpoint.deployments.get(deployment_id)
    if found is None:
        raise GatewayError(404, f"{endpoint.kind.capitalize()} {endpoint.id} has no deployment {deployment_id[:80]}.")
    return found


def _endpoint_content(endpoint: Endpoint) -> Content:
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


def _deployment_content(endpoint: Endpoint, deployment: Deployment) -> Content:
    state = {
        "status": deployment.status,
        "active_replica_count": deployment.replicas.ready,
        "autoscaling_settings": _autoscaling_settings(deployment),
        "instance_type_name": _INSTANCE_TYPE,
    }
    # Baseten does not count `development` as an environment, so the response never names it. In the emulator,
    # `development` may share its deployment with another environment. Then the response names the other one.
    environments = [name for name, id_ in endpoint.environments.items() if id_ == deployment.id]
    stable = next((name for name in environments if name != "development"), None)
    content = {"id": deployment.id, "created_at": timestamp(endpoint.created_at), "environment": stable}
    if endpoint.kind == "chain":
        chainlet = {"id": f"{deployment.id}c1", "name": endpoint.name, **state}
        return content | {"chain_id": endpoint.id, "status": deployment.status, "chainlets": [chainlet]}
    return content | {
        "model_id": endpoint.id,
        "name": _deployment_name(deployment),
        "is_production": "production" in environments,
        "is_development": "development" in environments,
        **state,
    }


def _deployment_name(deployment: Deployment) -> str:
    return f"deployment-{deployment.id}"


def _autoscaling_settings(deployment: Deployment) -> Content:
    scaling = deployment.replicas.scaling
    return {
        "min_replica": scaling.min_replica,
        "max_replica": scaling.max_replica,
        "autoscaling_window": 60,
        "scale_down_delay": int(scaling.scale_down_delay),
        # In the emulator, `None` means no limit. Baseten has no value for that, so the response contains 1.
        "concurrency_target": scaling.concurrency_target or 1,
        "target_utilization_percentage": 70,
    }
