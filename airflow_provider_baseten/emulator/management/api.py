"""Management API: the route table, and the responses to requests."""

from urllib.parse import parse_qs

from airflow_provider_baseten.emulator.management import (
    account,
    audit_logs,
    billing,
    chain_environments,
    chains,
    deployments,
    environments,
    instance_types,
    logs,
    metrics,
    model_api_costs,
    model_apis,
    models,
    promotions,
    startups,
    training_jobs,
    training_projects,
)
from airflow_provider_baseten.emulator.management.rate_limits import RateLimits
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route, find_route
from airflow_provider_baseten.emulator.management.workspace import Caller, Workspace

#: All routes of the management API.
ROUTES: tuple[Route, ...] = (
    *account.ROUTES,
    *models.ROUTES,
    *deployments.ROUTES,
    *environments.ROUTES,
    *promotions.ROUTES,
    *chains.ROUTES,
    *chain_environments.ROUTES,
    *model_apis.ROUTES,
    *instance_types.ROUTES,
    *logs.ROUTES,
    *metrics.ROUTES,
    *startups.ROUTES,
    *audit_logs.ROUTES,
    *billing.ROUTES,
    *model_api_costs.ROUTES,
    *training_projects.ROUTES,
    *training_jobs.ROUTES,
)


class ManagementApi:
    """Management API of a workspace.

    :param workspace: state that the requests read and change.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._rates = RateLimits(workspace.clock)

    def respond(
        self, method: str, path: str, query: str, body: bytes, *, authorization: str | None, base_url: str
    ) -> Content:
        """Return the JSON content of the response.

        :param method: HTTP method.
        :param path: path without ``/v1/``.
        :param query: query string.
        :param body: request body.
        :param authorization: the ``Authorization`` header.
        :param base_url: URL of the emulator.
        :raises GatewayError: 404 for an unknown path or resource, 405 for a method that the path does not support, 400
            for a wrong parameter, body or state, 429 for too many calls.
        """
        route, parameters = find_route(ROUTES, method, path)
        caller = Caller.of(authorization)
        if self.workspace.limits.management_rates:
            self._rates.check(caller.key, f"{method} {route.path}", *route.rate)
        parsed_query = parse_qs(query, keep_blank_values=True)
        request = ManagementRequest(parameters, parsed_query, caller, route.parse_body(body), base_url)
        return route.handler(self.workspace, request)
