"""Environments of models: list, details, creation, settings, deletion, activation."""

import re
from collections.abc import Callable
from dataclasses import asdict

from airflow_provider_baseten.emulator.deployments import Deployment, UpdateStatus
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management import deployments
from airflow_provider_baseten.emulator.management.environment_content import describe_environment
from airflow_provider_baseten.emulator.management.promotion_bodies import (
    PromotionSettingsBody,
    change_promotion_settings,
)
from airflow_provider_baseten.emulator.management.promotions import find_environment
from airflow_provider_baseten.emulator.management.routes import (
    ClosedBody,
    Content,
    ManagementRequest,
    RequestBody,
    Route,
)
from airflow_provider_baseten.emulator.management.schedule_bodies import SchedulesBody, change_schedules
from airflow_provider_baseten.emulator.management.settings import (
    AutoscalingBody,
    BackpressureBody,
    change_autoscaling,
    change_backpressure,
    describe_autoscaling,
)
from airflow_provider_baseten.emulator.management.traffic_bodies import TrafficBody, change_rules
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.promotions import PromotionSettings
from airflow_provider_baseten.emulator.replicas import Scaling

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class EnvironmentBody(RequestBody):
    """Body that creates an environment."""

    name: str
    autoscaling_settings: AutoscalingBody | None = None
    promotion_settings: PromotionSettingsBody | None = None
    request_backpressure_settings: BackpressureBody | None = None


class EnvironmentChangeBody(ClosedBody):
    """Body that changes an environment. A setting that is missing or null stays."""

    autoscaling_settings: AutoscalingBody | None = None
    promotion_settings: PromotionSettingsBody | None = None
    autoscaling_schedule_settings: SchedulesBody | None = None
    request_backpressure_settings: BackpressureBody | None = None
    traffic_routing_settings: TrafficBody | None = None


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    # Baseten does not count `development` as an environment.
    environments = [one for one in endpoint.environments.values() if one.name != "development"]
    return {"environments": [describe_environment(workspace, endpoint, environment) for environment in environments]}


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return describe_environment(workspace, *find_environment(workspace, request))


def _create(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, body = workspace.find_endpoint("model", request.parameters["id"]), request.body(EnvironmentBody)
    check_new_name(endpoint, body.name)
    environment = Environment(
        body.name,
        workspace.clock.now(),
        _change_scaling(Scaling(min_replica=0), body.autoscaling_settings, body.request_backpressure_settings),
        instance_type=endpoint.instance_type.id,
        promotion_settings=change_promotion_settings(PromotionSettings(), body.promotion_settings, is_model=True),
    )
    endpoint.environments[body.name] = environment
    _record(workspace, request, "ENVIRONMENT_CREATED", endpoint, environment)
    return describe_environment(workspace, endpoint, environment)


def check_new_name(endpoint: Endpoint, name: str) -> None:
    """Raise GatewayError 400 if a new environment can't have this name."""
    if not _NAME.fullmatch(name):
        raise bad_request("The name of an environment has 1 to 40 lowercase letters, digits and hyphens.")
    if name == "development" or name in endpoint.environments:
        raise bad_request(f"{endpoint.kind.capitalize()} {endpoint.id} has an environment {name} already.")


def _change(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = find_environment(workspace, request)
    body, now = request.body(EnvironmentChangeBody), workspace.clock.now()
    # Everything is checked first, so that a wrong request changes nothing.
    settings = _change_scaling(environment.settings, body.autoscaling_settings, body.request_backpressure_settings)
    promotion_settings = change_promotion_settings(
        environment.promotion_settings, body.promotion_settings, is_model=True
    )
    rules, schedules = environment.traffic_rules, (environment.timezone, environment.schedules)
    if body.traffic_routing_settings is not None:
        workspace.require_feature("traffic_routing")
        rules = change_rules(endpoint, environment, body.traffic_routing_settings, now)
    if body.autoscaling_schedule_settings is not None:
        workspace.require_feature("autoscaling_schedules")
        schedules = change_schedules(environment, body.autoscaling_schedule_settings, now)
    has_changes = promotion_settings != environment.promotion_settings or rules != environment.traffic_rules
    environment.promotion_settings, environment.traffic_rules = promotion_settings, rules
    has_new_schedules = schedules != (environment.timezone, environment.schedules)
    environment.timezone, environment.schedules = schedules
    status = _change_settings(workspace, endpoint, environment, settings, has_new_schedules=has_new_schedules)
    if status == "UNCHANGED" and (has_changes or has_new_schedules):
        status = "ACCEPTED"
    if status != "UNCHANGED":
        _record(workspace, request, "ENVIRONMENT_UPDATED", endpoint, environment, schedules=None)
    return {
        "environment": describe_environment(workspace, endpoint, environment),
        "status": status,
        "message": "The environment is being updated." if status != "UNCHANGED" else "Nothing has changed.",
    }


def _change_scaling(
    scaling: Scaling, autoscaling: AutoscalingBody | None, backpressure: BackpressureBody | None
) -> Scaling:
    if autoscaling is not None:
        scaling = change_autoscaling(scaling, autoscaling)
    return scaling if backpressure is None else change_backpressure(scaling, backpressure)


def _change_settings(
    workspace: Workspace, endpoint: Endpoint, environment: Environment, settings: Scaling, *, has_new_schedules: bool
) -> UpdateStatus:
    """Change the settings of the environment and of its deployment, and put schedules in force as late as these."""
    status: UpdateStatus = "UNCHANGED" if settings == environment.settings else "ACCEPTED"
    environment.settings = settings
    current = endpoint.deployments.get(environment.deployment_id or "")
    if current is not None and status != "UNCHANGED":
        status = current.change(settings)
    if has_new_schedules or (status != "UNCHANGED" and environment.schedules):
        seconds = workspace.durations.update
        if seconds > 0:
            workspace.clock.call_later(
                seconds, lambda: environment.apply_schedules(endpoint.deployments, workspace.clock)
            )
        else:
            environment.apply_schedules(endpoint.deployments, workspace.clock)
    return status


def _delete(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = find_environment(workspace, request)
    if environment.name in {"production", "development"}:
        raise bad_request(f"The environment {environment.name} can't be deleted.")
    if environment.is_promoting:
        raise bad_request(f"A promotion to {environment.name} is in progress.")
    del endpoint.environments[environment.name]
    environment.schedules = {}
    environment.apply_schedules(endpoint.deployments, workspace.clock)
    names = {"model_id": endpoint.id, "model_name": endpoint.name, "environment_name": environment.name}
    workspace.record(request.caller, "ENVIRONMENT_DELETED", **names)
    return {"name": environment.name, "model_id": endpoint.id, "deleted": True}


def _for_current(
    handle: Callable[[Workspace, ManagementRequest, Endpoint, Deployment], Content],
) -> Callable[[Workspace, ManagementRequest], Content]:
    """Return a handler that does to the current deployment of an environment what ``handle`` does."""

    def handle_current(workspace: Workspace, request: ManagementRequest) -> Content:
        endpoint, environment = find_environment(workspace, request)
        deployment = endpoint.deployments.get(environment.deployment_id or "")
        if deployment is None:
            raise bad_request(f"The environment {environment.name} has no deployment.")
        return handle(workspace, request, endpoint, deployment)

    return handle_current


def _record(
    workspace: Workspace,
    request: ManagementRequest,
    event_type: str,
    endpoint: Endpoint,
    environment: Environment,
    **event_data: object,
) -> None:
    promotion_settings = asdict(environment.promotion_settings)
    workspace.record(
        request.caller,
        event_type,
        model_id=endpoint.id,
        model_name=endpoint.name,
        environment_name=environment.name,
        **describe_autoscaling(environment.settings),
        **promotion_settings.pop("rolling_deploy_config"),
        **promotion_settings,
        ramp_up_step_size=None,
        request_backpressure_policy=environment.settings.policy,
        **event_data,
    )


_ONE = "models/{id}/environments/{environment}"
ROUTES = (
    Route("GET", "models/{id}/environments", _list),
    Route("POST", "models/{id}/environments", _create, EnvironmentBody),
    Route("GET", _ONE, _get),
    Route("PATCH", _ONE, _change, EnvironmentChangeBody),
    Route("DELETE", _ONE, _delete),
    Route("POST", f"{_ONE}/activate", _for_current(deployments.activate), per_minute=20),
    Route("POST", f"{_ONE}/deactivate", _for_current(deployments.deactivate), per_minute=20),
)
