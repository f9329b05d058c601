"""Environments and promotions of chains."""

from dataclasses import asdict

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.instance_types import find_instance_type
from airflow_provider_baseten.emulator.management.chains import describe_chain_deployment, record_chain_event
from airflow_provider_baseten.emulator.management.deployments import find_by_id
from airflow_provider_baseten.emulator.management.environment_content import describe_environment, describe_promotion
from airflow_provider_baseten.emulator.management.environments import check_new_name
from airflow_provider_baseten.emulator.management.promotion_bodies import (
    PromoteChainBody,
    PromotionSettingsBody,
    change_promotion_settings,
)
from airflow_provider_baseten.emulator.management.promotions import promote
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, RequestBody, Route
from airflow_provider_baseten.emulator.management.settings import (
    AutoscalingBody,
    change_autoscaling,
    describe_autoscaling,
)
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.promotions import PromotionSettings
from airflow_provider_baseten.emulator.replicas import Scaling


class _ChainletSettings(RequestBody):
    chainlet_name: str
    autoscaling_settings: AutoscalingBody | None = None
    instance_type_id: str = "1x2"


class ChainEnvironmentBody(RequestBody):
    """Body that creates an environment of a chain."""

    name: str
    promotion_settings: PromotionSettingsBody | None = None
    chainlet_settings: list[_ChainletSettings] | None = None


class ChainEnvironmentChangeBody(RequestBody):
    """Body that changes an environment of a chain."""

    promotion_settings: PromotionSettingsBody | None = None


class _ChainletUpdate(RequestBody):
    chainlet_name: str
    autoscaling_settings: AutoscalingBody


class ChainletUpdatesBody(RequestBody):
    """Body that changes the autoscaling settings of chainlets."""

    updates: list[_ChainletUpdate]


def _find(workspace: Workspace, request: ManagementRequest) -> tuple[Endpoint, Environment]:
    endpoint = workspace.find_endpoint("chain", request.parameters["id"])
    name = request.parameters["environment"]
    if name not in endpoint.environments:
        raise GatewayError(404, f"Chain {endpoint.id} has no environment {name[:80]}.")
    return endpoint, endpoint.environments[name]


def _describe(endpoint: Endpoint, environment: Environment) -> Content:
    current = endpoint.deployments.get(environment.deployment_id or "")
    promotion = environment.promotion
    chainlet = {
        "chainlet_name": endpoint.name,
        "autoscaling_settings": describe_autoscaling(environment.settings),
        "instance_type": find_instance_type(environment.instance_type).as_json(),
    }
    return {
        "name": environment.name,
        "created_at": timestamp(environment.created_at),
        "chain_id": endpoint.id,
        "promotion_settings": asdict(environment.promotion_settings),
        "chainlet_settings": [chainlet],
        "current_deployment": None if current is None else describe_chain_deployment(endpoint, current),
        "candidate_deployment": None if promotion is None else describe_chain_deployment(endpoint, promotion.candidate),
        "in_progress_promotion": describe_promotion(promotion),
    }


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint = workspace.find_endpoint("chain", request.parameters["id"])
    environments = [one for one in endpoint.environments.values() if one.name != "development"]
    return {"environments": [_describe_twice(workspace, endpoint, environment) for environment in environments]}


def _describe_twice(workspace: Workspace, endpoint: Endpoint, environment: Environment) -> Content:
    """Return an environment with the fields of an environment of a model and with those of one of a chain.

    Baseten's OpenAPI document says that the list for a chain has environments of models, which hardly is so.
    """
    as_model, as_chain = describe_environment(workspace, endpoint, environment), _describe(endpoint, environment)
    for name in ("current_deployment", "candidate_deployment"):
        as_chain[name] = None if as_chain[name] is None else as_model[name] | as_chain[name]
    return as_model | as_chain


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    return _describe(*_find(workspace, request))


def _create(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, body = workspace.find_endpoint("chain", request.parameters["id"]), request.body(ChainEnvironmentBody)
    check_new_name(endpoint, body.name)
    scaling = Scaling(min_replica=0)
    for chainlet in body.chainlet_settings or ():
        _check_chainlet(endpoint, chainlet.chainlet_name)
        if chainlet.autoscaling_settings is not None:
            scaling = change_autoscaling(scaling, chainlet.autoscaling_settings)
    environment = Environment(
        body.name,
        workspace.clock.now(),
        scaling,
        instance_type=endpoint.instance_type.id,
        promotion_settings=change_promotion_settings(_DEFAULT_SETTINGS, body.promotion_settings, is_model=False),
    )
    endpoint.environments[body.name] = environment
    _record_settings(workspace, request, "CHAIN_ENVIRONMENT_CREATED", endpoint, environment)
    return _describe(endpoint, environment)


def _change(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = _find(workspace, request)
    environment.promotion_settings = change_promotion_settings(
        environment.promotion_settings, request.body(ChainEnvironmentChangeBody).promotion_settings, is_model=False
    )
    _record_settings(workspace, request, "CHAIN_ENVIRONMENT_UPDATED", endpoint, environment)
    return {"ok": True}


def _change_chainlets(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = _find(workspace, request)
    settings = environment.settings
    for update in request.body(ChainletUpdatesBody).updates:
        _check_chainlet(endpoint, update.chainlet_name)
        settings = change_autoscaling(settings, update.autoscaling_settings)
    if settings == environment.settings:
        return {"status": "UNCHANGED", "message": "The chainlets have these autoscaling settings already."}
    environment.settings = settings
    current = endpoint.deployments.get(environment.deployment_id or "")
    status = "ACCEPTED" if current is None else current.change(settings)
    return {"status": status, "message": "The autoscaling settings are being updated."}


def _promote(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, environment = _find(workspace, request)
    body = request.body(PromoteChainBody)
    promoted = promote(
        workspace,
        endpoint,
        environment,
        find_by_id(endpoint, body.deployment_id),
        settings=environment.promotion_settings,
        scales_down_previous=body.scale_down_previous_deployment,
    )
    record_chain_event(
        workspace,
        request,
        "CHAIN_DEPLOYMENT_PROMOTED",
        endpoint,
        chain_deployment_id=promoted.id,
        chain_deployment_name=promoted.name,
        environment_name=environment.name,
        environment_id=None,
    )
    return describe_chain_deployment(endpoint, promoted)


def _check_chainlet(endpoint: Endpoint, name: str) -> None:
    if name != endpoint.name:
        raise bad_request(f"Chain {endpoint.id} has no chainlet {name[:80]}.")


def _record_settings(
    workspace: Workspace, request: ManagementRequest, event_type: str, endpoint: Endpoint, environment: Environment
) -> None:
    settings = environment.promotion_settings
    record_chain_event(
        workspace,
        request,
        event_type,
        endpoint,
        environment_name=environment.name,
        redeploy_on_promotion=settings.redeploy_on_promotion,
        ramp_up_while_promoting=settings.ramp_up_while_promoting,
        ramp_up_duration_seconds=settings.ramp_up_duration_seconds,
    )


# Unlike that of a model, a new environment of a chain does not move its traffic step by step.
_DEFAULT_SETTINGS = PromotionSettings(rolling_deploy=False)
_ONE = "chains/{id}/environments/{environment}"
ROUTES = (
    Route("GET", "chains/{id}/environments", _list),
    Route("POST", "chains/{id}/environments", _create, ChainEnvironmentBody),
    Route("GET", _ONE, _get),
    Route("PATCH", _ONE, _change, ChainEnvironmentChangeBody),
    Route("PATCH", f"{_ONE}/chainlet_settings/autoscaling_settings", _change_chainlets, ChainletUpdatesBody),
    Route("POST", f"{_ONE}/promote", _promote, PromoteChainBody),
)
