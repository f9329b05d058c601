"""Settings of promotions in requests."""

from dataclasses import replace
from typing import Any, Literal

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import RequestBody
from airflow_provider_baseten.emulator.management.schedule_bodies import SchedulesBody
from airflow_provider_baseten.emulator.management.settings import AutoscalingBody, BackpressureBody
from airflow_provider_baseten.emulator.promotions import CleanupStrategy, PromotionSettings


class _RollingDeployConfig(RequestBody):
    rolling_deploy_strategy: Literal["REPLICA"] | None = None
    max_surge_percent: int | None = None
    max_unavailable_percent: int | None = None
    stabilization_time_seconds: int | None = None
    replica_overhead_percent: int | None = None


class PromotionSettingsBody(RequestBody):
    """Promotion settings in a request. A field that is missing or null keeps its value."""

    redeploy_on_promotion: bool | None = None
    rolling_deploy: bool | None = None
    promotion_cleanup_strategy: CleanupStrategy | None = None
    rolling_deploy_config: _RollingDeployConfig | None = None
    ramp_up_while_promoting: bool | None = None
    ramp_up_duration_seconds: int | None = None


class EnvironmentUpdateBody(RequestBody):
    """Settings that an environment has after a promotion."""

    region: str | None = None
    instance_type_id: str | None = None
    autoscaling_settings: AutoscalingBody | None = None
    request_backpressure_settings: BackpressureBody | None = None
    autoscaling_schedule_settings: SchedulesBody | None = None
    promotion_settings: PromotionSettingsBody | None = None


class PromoteToProductionBody(RequestBody):
    """Body of a promotion to production."""

    scale_down_previous_production: bool = True
    preserve_env_instance_type: bool = True
    environment_settings_update: EnvironmentUpdateBody | None = None
    promotion_settings_override: PromotionSettingsBody | None = None


class PromoteBody(RequestBody):
    """Body of a promotion to an environment of a model."""

    deployment_id: str
    scale_down_previous_deployment: bool = True
    preserve_env_instance_type: bool = True
    environment_settings_update: EnvironmentUpdateBody | None = None
    promotion_settings_override: PromotionSettingsBody | None = None


class PromoteChainBody(RequestBody):
    """Body of a promotion to an environment of a chain."""

    deployment_id: str
    scale_down_previous_deployment: bool = True


def change_promotion_settings(
    settings: PromotionSettings, body: PromotionSettingsBody | None, *, is_model: bool
) -> PromotionSettings:
    """Return promotion settings with the changes of a request.

    :param settings: the settings.
    :param body: the request, ``None`` for no changes.
    :param is_model: whether they are the settings of a model, whose ramp-up is no longer possible.
    :raises GatewayError: 400 for values out of their bounds, or a ramp-up for a model.
    """
    if body is None:
        return settings
    if is_model and body.ramp_up_while_promoting:
        raise bad_request("ramp_up_while_promoting is not possible for a model; use rolling_deploy.")
    sent: dict[str, Any] = body.model_dump(exclude_none=True)
    config = sent.pop("rolling_deploy_config", {})
    if any(isinstance(value, int) and not 0 <= value <= 10_000 for value in config.values()):
        raise bad_request("A value of rolling_deploy_config is out of its bounds.")
    return replace(settings, **sent, rolling_deploy_config=replace(settings.rolling_deploy_config, **config))
