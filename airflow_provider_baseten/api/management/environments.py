"""Environments of models."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from airflow_provider_baseten.api.management.autoscaling import (
    Acceptance,
    AutoscalingSettings,
    AutoscalingUpdate,
    BackpressureSettings,
    BackpressureUpdate,
    check_autoscaling,
)
from airflow_provider_baseten.api.management.body import NUMBER, ONLY_KNOWN, check_body
from airflow_provider_baseten.api.management.call import Call, change, get, reads
from airflow_provider_baseten.api.management.deployments import Deployment
from airflow_provider_baseten.api.management.instances import InstanceType
from airflow_provider_baseten.api.management.path import model_path, segment
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.api.management.schedules import Schedules, SchedulesUpdate, check_schedules
from airflow_provider_baseten.exceptions import BasetenInputError


class Promotion(Resource):
    """Promotion in progress.

    ``status`` is ``RELEASING``, ``RAMPING_UP``, ``RAMPING_DOWN``, ``PAUSED``, ``SUCCEEDED``, ``FAILED`` or
    ``CANCELED``; ``percent_traffic_to_new_version`` goes from 0 to 100.
    """

    status: str
    percent_traffic_to_new_version: int = 0
    error_message: str | None = None
    rolling_deploy: bool | None = None


class Environment(Resource):
    """Environment of a model.

    ``candidate_deployment`` and ``in_progress_promotion`` are there while a promotion is in progress.
    """

    name: str
    model_id: str | None = None
    created_at: Time | None = None
    current_deployment: Deployment | None = None
    candidate_deployment: Deployment | None = None
    in_progress_promotion: Promotion | None = None
    autoscaling_settings: AutoscalingSettings | None = None
    promotion_settings: dict[str, Any] | None = None
    instance_type: InstanceType | None = None
    request_backpressure_settings: BackpressureSettings | None = None
    autoscaling_schedules: Schedules | None = None
    traffic_routing: dict[str, Any] | None = None


class EnvironmentChange(Acceptance):
    """Environment after a change of its settings. The change takes effect later."""

    environment: Environment


class DeletedEnvironment(Resource):
    """Confirmation that an environment was deleted."""

    name: str
    deleted: bool = True


@with_config(ONLY_KNOWN)
class RollingDeployUpdate(TypedDict, total=False):
    """Settings of rolling deploys; percentages of the replicas, times in seconds."""

    rolling_deploy_strategy: Literal["REPLICA"] | None
    max_surge_percent: Annotated[int, NUMBER, Field(ge=0)] | None
    max_unavailable_percent: Annotated[int, NUMBER, Field(ge=0, le=100)] | None
    stabilization_time_seconds: Annotated[int, NUMBER, Field(ge=0)] | None
    replica_overhead_percent: Annotated[int, NUMBER, Field(ge=0)] | None


@with_config(ONLY_KNOWN)
class PromotionSettingsUpdate(TypedDict, total=False):
    """Settings of promotions to change. Settings that are not given stay as they are; ``None`` clears a setting.

    :param redeploy_on_promotion: deploy the promoted deployment again, as a new one.
    :param rolling_deploy: move the replicas step by step.
    :param promotion_cleanup_strategy: what happens to the previous deployment.
    :param ramp_up_while_promoting: move the traffic step by step.
    :param ramp_up_duration_seconds: time for that.
    """

    redeploy_on_promotion: bool | None
    rolling_deploy: bool | None
    promotion_cleanup_strategy: Literal["KEEP", "SCALE_TO_ZERO", "DEACTIVATE"] | None
    rolling_deploy_config: RollingDeployUpdate | None
    ramp_up_while_promoting: bool | None
    ramp_up_duration_seconds: Annotated[int, NUMBER, Field(ge=0)] | None


@with_config(ONLY_KNOWN)
class EnvironmentUpdate(TypedDict, total=False):
    """Settings of an environment to change. Settings that are not given stay as they are."""

    autoscaling_settings: AutoscalingUpdate
    promotion_settings: PromotionSettingsUpdate
    autoscaling_schedule_settings: SchedulesUpdate
    request_backpressure_settings: BackpressureUpdate
    traffic_routing_settings: dict[str, Any]


def list_environments(model_id: str) -> Call[list[Environment]]:
    """Return the environments of a model.

    :raises BasetenNotFoundError: no model has this id.
    """
    path = f"{model_path(model_id)}/environments"
    return get(path, f"listing the environments of model {model_id}", reads(list[Environment], "environments"))


def get_environment(model_id: str, environment: str) -> Call[Environment]:
    """Return an environment of a model, with its deployment and the promotion in progress.

    :raises BasetenNotFoundError: the model does not exist, or has no such environment.
    """
    return get(_path(model_id, environment), _subject("reading", model_id, environment), reads(Environment))


def create_environment(
    model_id: str,
    environment: str,
    *,
    autoscaling_settings: AutoscalingUpdate | None = None,
    promotion_settings: PromotionSettingsUpdate | None = None,
    request_backpressure_settings: BackpressureUpdate | None = None,
) -> Call[Environment]:
    """Create an environment of a model.

    :param environment: name of the new environment.
    :param autoscaling_settings: by default Baseten's.
    :param promotion_settings: by default Baseten's: new environments promote by rolling deploy.
    :param request_backpressure_settings: by default Baseten's.
    """
    given = {
        "autoscaling_settings": autoscaling_settings,
        "promotion_settings": promotion_settings,
        "request_backpressure_settings": request_backpressure_settings,
    }
    settings = check_environment({name: value for name, value in given.items() if value is not None}, "")
    body = {"name": segment("environment", environment), **settings}
    path = f"{model_path(model_id)}/environments"
    subject = _subject("creating", model_id, environment)
    return change("POST", path, subject, reads(Environment), body, idempotent=False)


def update_environment(model_id: str, environment: str, settings: EnvironmentUpdate) -> Call[EnvironmentChange]:
    """Change the settings of an environment of a model. Baseten applies them later: read the environment.

    :param settings: the settings to change; others stay as they are.
    """
    body = check_environment(settings, "settings")
    if not body:
        raise BasetenInputError("settings is empty: give at least one group, for example autoscaling_settings.")
    subject = _subject("changing", model_id, environment)
    return change("PATCH", _path(model_id, environment), subject, reads(EnvironmentChange), body)


def delete_environment(model_id: str, environment: str) -> Call[DeletedEnvironment]:
    """Delete an environment of a model."""
    subject = _subject("deleting", model_id, environment)
    return change("DELETE", _path(model_id, environment), subject, reads(DeletedEnvironment))


def check_environment(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Check settings of an environment, and return them as JSON values.

    :param name: name of the argument; empty if each group of settings is an argument.
    :raises BasetenInputError: a setting is not valid.
    """
    body: dict[str, Any] = check_body(EnvironmentUpdate, name or "settings", settings)
    prefix = f"{name}." if name else ""
    if "autoscaling_settings" in body:
        body["autoscaling_settings"] = check_autoscaling(
            settings["autoscaling_settings"], f"{prefix}autoscaling_settings"
        )
    if "autoscaling_schedule_settings" in body:
        schedules = settings["autoscaling_schedule_settings"]
        body["autoscaling_schedule_settings"] = check_schedules(schedules, f"{prefix}autoscaling_schedule_settings")
    return body


def _path(model_id: str, environment: str) -> str:
    return f"{model_path(model_id)}/environments/{segment('environment', environment)}"


def _subject(action: str, model_id: str, environment: str) -> str:
    return f"{action} environment {environment} of model {model_id}"
