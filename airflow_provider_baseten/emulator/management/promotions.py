"""Promotions of models: start and control."""

from collections.abc import Callable

from airflow_provider_baseten.emulator.deployments import FAILED_STATUSES, Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint, environments_of
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.instance_types import find_instance_type
from airflow_provider_baseten.emulator.management import deployments
from airflow_provider_baseten.emulator.management.promotion_bodies import (
    EnvironmentUpdateBody,
    PromoteBody,
    PromoteToProductionBody,
    change_promotion_settings,
)
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.schedule_bodies import change_schedules
from airflow_provider_baseten.emulator.management.settings import change, change_autoscaling, change_backpressure
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.promotions import Promotion, PromotionSettings


def find_environment(workspace: Workspace, request: ManagementRequest) -> tuple[Endpoint, Environment]:
    """Return the model and the environment that a path names.

    :raises GatewayError: 404 if there is no such environment.
    """
    endpoint = workspace.find_endpoint("model", request.parameters["id"])
    name = request.parameters["environment"]
    if name not in endpoint.environments:
        raise GatewayError(404, f"Model {endpoint.id} has no environment {name[:80]}.")
    return endpoint, endpoint.environments[name]


def promote(
    workspace: Workspace,
    endpoint: Endpoint,
    environment: Environment,
    deployment: Deployment,
    *,
    settings: PromotionSettings,
    scales_down_previous: bool,
    on_success: Callable[[], None] = lambda: None,
) -> Deployment:
    """Start a promotion, and return the deployment that is promoted, which is another one after a redeployment.

    Status 400 for a second promotion, for the current deployment and for a failed one are this emulator's choice.

    :param workspace: the workspace.
    :param endpoint: the model or chain.
    :param environment: the environment.
    :param deployment: the deployment.
    :param settings: settings of this promotion.
    :param scales_down_previous: whether the cleanup strategy is applied to the previous deployment.
    :param on_success: function that is called when the promotion is complete.
    :raises GatewayError: 400 if the deployment can't be promoted now.
    """
    if environment.is_promoting:
        raise bad_request(f"A promotion to {environment.name} is in progress already.")
    if environment.deployment_id == deployment.id:
        raise bad_request(f"Deployment {deployment.id} is the current one of {environment.name} already.")
    if settings.redeploy_on_promotion:
        deployment = endpoint.deploy_again(deployment.id)
    elif deployment.status in FAILED_STATUSES:
        raise bad_request(f"Deployment {deployment.id} has failed ({deployment.status}); retry it first.")
    deployment.activate()
    previous = endpoint.deployments.get(environment.deployment_id or "")

    def succeed() -> None:
        environment.deployment_id, environment.promotion = deployment.id, None
        on_success()
        deployment.change(environment.settings)
        environment.apply_schedules(endpoint.deployments, workspace.clock)
        if previous is not None and scales_down_previous and not environments_of(endpoint, previous.id):
            _clean_up(previous, settings)

    def cancel() -> None:
        environment.promotion = None

    environment.promotion = promotion = Promotion(
        deployment,
        previous,
        settings,
        clock=workspace.clock,
        durations=workspace.durations,
        on_success=succeed,
        on_cancel=cancel,
    )
    if environment.next_failure is not None:
        message, environment.next_failure = environment.next_failure, None
        promotion.fail(message)
    else:
        promotion.start()
    return deployment


def _clean_up(previous: Deployment, settings: PromotionSettings) -> None:
    previous.apply_schedule(None)
    if settings.promotion_cleanup_strategy == "DEACTIVATE":
        previous.deactivate()
    elif settings.promotion_cleanup_strategy == "SCALE_TO_ZERO":
        previous.change(change(previous.newest_settings, min_replica=0))
        previous.replicas.scale_to_zero()


def _promote_to_production(workspace: Workspace, request: ManagementRequest) -> Content:
    endpoint, deployment = deployments.find_addressed(workspace, request)
    if "production" not in endpoint.environments:
        raise GatewayError(404, f"Model {endpoint.id} has no environment production.")
    body = request.body(PromoteToProductionBody)
    options = PromoteBody(
        deployment_id=deployment.id,
        scale_down_previous_deployment=body.scale_down_previous_production,
        preserve_env_instance_type=body.preserve_env_instance_type,
        environment_settings_update=body.environment_settings_update,
        promotion_settings_override=body.promotion_settings_override,
    )
    return _promote_model(workspace, request, endpoint, endpoint.environments["production"], options)


def _promote(workspace: Workspace, request: ManagementRequest) -> Content:
    return _promote_model(workspace, request, *find_environment(workspace, request), request.body(PromoteBody))


def _promote_model(
    workspace: Workspace, request: ManagementRequest, endpoint: Endpoint, environment: Environment, body: PromoteBody
) -> Content:
    deployment = deployments.find_by_id(endpoint, body.deployment_id)
    settings = change_promotion_settings(
        environment.promotion_settings, body.promotion_settings_override, is_model=True
    )
    update = body.environment_settings_update or EnvironmentUpdateBody()
    if update.instance_type_id is not None and body.preserve_env_instance_type:
        raise bad_request("instance_type_id needs preserve_env_instance_type to be false.")
    promoted = promote(
        workspace,
        endpoint,
        environment,
        deployment,
        settings=settings,
        scales_down_previous=body.scale_down_previous_deployment,
        on_success=_prepare_update(workspace, environment, update),
    )
    deployments.record_model_event(
        workspace,
        request,
        "MODEL_DEPLOYMENT_PROMOTED",
        endpoint,
        promoted,
        environment_name=environment.name,
        environment_id=None,
        region_update=update.region,
        instance_type_id_update=update.instance_type_id,
        promotion_settings_override=None,
        autoscaling_settings_update=None,
        request_backpressure_settings_update=None,
        autoscaling_schedule_settings_update=None,
    )
    return deployments.describe_deployment(endpoint, promoted)


def _prepare_update(
    workspace: Workspace, environment: Environment, update: EnvironmentUpdateBody
) -> Callable[[], None]:
    """Check the settings that the environment gets, and return a function that sets them."""
    scaling = environment.settings
    if update.autoscaling_settings is not None:
        scaling = change_autoscaling(scaling, update.autoscaling_settings)
    if update.request_backpressure_settings is not None:
        scaling = change_backpressure(scaling, update.request_backpressure_settings)
    promotion_settings = change_promotion_settings(
        environment.promotion_settings, update.promotion_settings, is_model=True
    )
    schedules = (environment.timezone, environment.schedules)
    if update.autoscaling_schedule_settings is not None:
        workspace.require_feature("autoscaling_schedules")
        schedules = change_schedules(environment, update.autoscaling_schedule_settings, workspace.clock.now())
    instance_type = update.instance_type_id or environment.instance_type
    try:
        find_instance_type(instance_type)
    except KeyError:
        raise bad_request(f"There is no instance type {instance_type[:80]}.") from None

    def apply() -> None:
        environment.settings = scaling
        environment.promotion_settings = promotion_settings
        environment.timezone, environment.schedules = schedules
        environment.instance_type = instance_type

    return apply


def _control(action: str, apply: Callable[[Promotion], object]) -> Callable[[Workspace, ManagementRequest], Content]:
    """Return a handler that controls the promotion in progress.

    :param action: name of the action in the audit log.
    :param apply: function that changes the promotion. It returns ``False`` if this is not possible now.
    """

    def handle(workspace: Workspace, request: ManagementRequest) -> Content:
        endpoint, environment = find_environment(workspace, request)
        promotion = environment.promotion
        if promotion is None or not promotion.is_in_progress:
            raise bad_request(f"No promotion to {environment.name} is in progress.")
        result = apply(promotion)
        if result is False:
            raise bad_request(f"This is not possible now; the status of the promotion is {promotion.status}.")
        deployments.record_model_event(
            workspace,
            request,
            "MODEL_PROMOTION_CONTROL_ACTION",
            endpoint,
            promotion.candidate,
            environment_name=environment.name,
            environment_id=None,
            action=action,
        )
        if action != "GRACEFUL_CANCEL":
            return {"success": True}
        message = {"CANCELED": "The promotion was canceled.", "RAMPING_DOWN": "Traffic is moving back."}
        return {"status": result, "message": message[str(result)]}

    return handle


_ONE = "models/{id}/environments/{environment}"
ROUTES = (
    Route("POST", "models/{id}/deployments/{deployment_id}/promote", _promote_to_production, PromoteToProductionBody),
    Route("POST", f"{_ONE}/promote", _promote, PromoteBody),
    Route("POST", f"{_ONE}/cancel_promotion", _control("GRACEFUL_CANCEL", Promotion.cancel)),
    Route("POST", f"{_ONE}/pause_promotion", _control("PAUSE", Promotion.pause)),
    Route("POST", f"{_ONE}/resume_promotion", _control("RESUME", Promotion.resume)),
    Route("POST", f"{_ONE}/force_cancel_promotion", _control("FORCE_CANCEL", Promotion.force_cancel)),
    Route("POST", f"{_ONE}/force_roll_forward_promotion", _control("FORCE_ROLL_FORWARD", Promotion.roll_forward)),
)
