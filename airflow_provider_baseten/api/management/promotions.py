"""Promotions of deployments to environments of models."""

from typing import Any, Literal

from pydantic import with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.autoscaling import AutoscalingUpdate, BackpressureUpdate, check_autoscaling
from airflow_provider_baseten.api.management.body import ONLY_KNOWN, check_body
from airflow_provider_baseten.api.management.call import Call, change, reads
from airflow_provider_baseten.api.management.deployments import Deployment
from airflow_provider_baseten.api.management.environments import PromotionSettingsUpdate
from airflow_provider_baseten.api.management.path import model_path, segment
from airflow_provider_baseten.api.management.resource import Resource
from airflow_provider_baseten.api.management.schedules import SchedulesUpdate, check_schedules
from airflow_provider_baseten.arguments import check_flags
from airflow_provider_baseten.exceptions import BasetenInputError

Control = Literal["pause_promotion", "resume_promotion", "force_cancel_promotion", "force_roll_forward_promotion"]


class Cancellation(Resource):
    """Result of the cancellation of a promotion: ``CANCELED``, or ``RAMPING_DOWN`` while traffic moves back."""

    status: str
    message: str = ""


class Signal(Resource):
    """Whether Baseten has taken a call that controls a promotion."""

    success: bool


@with_config(ONLY_KNOWN)
class EnvironmentSettingsUpdate(TypedDict, total=False):
    """Settings that the environment keeps when the promotion completes.

    :param region: slug of a region; an empty text stands for all regions.
    :param instance_type_id: id of an instance type; needs ``preserve_env_instance_type=False``.
    """

    region: str | None
    instance_type_id: str | None
    autoscaling_settings: AutoscalingUpdate | None
    request_backpressure_settings: BackpressureUpdate | None
    autoscaling_schedule_settings: SchedulesUpdate | None
    promotion_settings: PromotionSettingsUpdate | None


def promote(
    model_id: str,
    deployment_id: str,
    environment: str = "production",
    *,
    scale_down_previous_deployment: bool = True,
    preserve_env_instance_type: bool = True,
    environment_settings_update: EnvironmentSettingsUpdate | None = None,
    promotion_settings_override: PromotionSettingsUpdate | None = None,
) -> Call[Deployment]:
    """Promote a deployment to an environment. The promotion takes some time: read the environment.

    An environment has one promotion at a time. The deployment that is returned can be another one than the one that was
    given, if the environment deploys again on promotion.

    :param deployment_id: id of the deployment to promote; ``development`` if the environment is ``production``.
    :param environment: name of the environment, by default ``production``.
    :param scale_down_previous_deployment: scale the previous deployment down; by default true.
    :param preserve_env_instance_type: keep the instance type of the environment; by default true.
    :param environment_settings_update: settings that the environment keeps when the promotion completes, by default
        none.
    :param promotion_settings_override: settings for this promotion only, by default none; what they leave out comes
        from the environment.
    :raises BasetenInputError: an argument is not valid, or arguments contradict each other.
    """
    check_flags(
        scale_down_previous_deployment=scale_down_previous_deployment,
        preserve_env_instance_type=preserve_env_instance_type,
    )
    body: dict[str, Any] = {"preserve_env_instance_type": preserve_env_instance_type}
    if environment_settings_update is not None:
        update = check_settings_update(environment_settings_update)
        if update.get("instance_type_id") is not None and preserve_env_instance_type:
            raise BasetenInputError(
                "environment_settings_update has an instance_type_id, which needs preserve_env_instance_type=False."
            )
        body["environment_settings_update"] = update
    if promotion_settings_override is not None:
        name = "promotion_settings_override"
        body[name] = check_body(PromotionSettingsUpdate, name, promotion_settings_override)
    subject = f"promoting deployment {deployment_id} of model {model_id} to {environment}"
    promoted = segment("deployment_id", deployment_id)
    if environment == "production":
        path = f"{model_path(model_id)}/deployments/{promoted}/promote"
        body["scale_down_previous_production"] = scale_down_previous_deployment
    else:
        path = f"{_path(model_id, environment)}/promote"
        body |= {"deployment_id": promoted, "scale_down_previous_deployment": scale_down_previous_deployment}
    return change("POST", path, subject, reads(Deployment), body, idempotent=False)


def check_settings_update(update: EnvironmentSettingsUpdate) -> dict[str, Any]:
    """Check the settings that an environment keeps after a promotion, and return them as JSON values.

    :raises BasetenInputError: a setting is not valid.
    """
    name = "environment_settings_update"
    body: dict[str, Any] = check_body(EnvironmentSettingsUpdate, name, update)
    if body.get("autoscaling_settings") is not None:
        body["autoscaling_settings"] = check_autoscaling(body["autoscaling_settings"], f"{name}.autoscaling_settings")
    if (schedules := update.get("autoscaling_schedule_settings")) is not None:
        checked = check_schedules(schedules, f"{name}.autoscaling_schedule_settings")
        body["autoscaling_schedule_settings"] = checked
    return body


def cancel_promotion(model_id: str, environment: str) -> Call[Cancellation]:
    """Cancel the promotion in progress; traffic moves back to the deployment before it."""
    path = f"{_path(model_id, environment)}/cancel_promotion"
    subject = f"canceling the promotion to {environment} of model {model_id}"
    return change("POST", path, subject, reads(Cancellation))


def pause_promotion(model_id: str, environment: str) -> Call[Signal]:
    """Pause the promotion in progress: the share of its traffic stays as it is."""
    return _control(model_id, environment, "pause_promotion", "pausing")


def resume_promotion(model_id: str, environment: str) -> Call[Signal]:
    """Continue a promotion that was paused."""
    return _control(model_id, environment, "resume_promotion", "resuming")


def force_cancel_promotion(model_id: str, environment: str) -> Call[Signal]:
    """Cancel the promotion in progress at once, without moving traffic back step by step."""
    return _control(model_id, environment, "force_cancel_promotion", "canceling at once")


def force_roll_forward_promotion(model_id: str, environment: str) -> Call[Signal]:
    """Complete the promotion in progress at once."""
    return _control(model_id, environment, "force_roll_forward_promotion", "completing at once")


def _control(model_id: str, environment: str, action: Control, words: str) -> Call[Signal]:
    subject = f"{words} the promotion to {environment} of model {model_id}"
    return change("POST", f"{_path(model_id, environment)}/{action}", subject, reads(Signal))


def _path(model_id: str, environment: str) -> str:
    return f"{model_path(model_id)}/environments/{segment('environment', environment)}"
