"""Environments of models in responses of the management API."""

from dataclasses import asdict

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.environments import Environment
from airflow_provider_baseten.emulator.instance_types import find_instance_type
from airflow_provider_baseten.emulator.management.deployments import describe_deployment
from airflow_provider_baseten.emulator.management.routes import Content
from airflow_provider_baseten.emulator.management.settings import describe_autoscaling, describe_backpressure
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.promotions import Promotion
from airflow_provider_baseten.emulator.schedules import Schedule
from airflow_provider_baseten.emulator.traffic_rules import TrafficRule


def describe_environment(workspace: Workspace, endpoint: Endpoint, environment: Environment) -> Content:
    """Return an environment of a model in the form of Baseten's API."""
    current = endpoint.deployments.get(environment.deployment_id or "")
    promotion = environment.promotion
    has_schedules = "autoscaling_schedules" not in workspace.disabled_features
    return {
        "name": environment.name,
        "created_at": timestamp(environment.created_at),
        "model_id": endpoint.id,
        "current_deployment": None if current is None else describe_deployment(endpoint, current),
        "candidate_deployment": None if promotion is None else describe_deployment(endpoint, promotion.candidate),
        "in_progress_promotion": describe_promotion(promotion),
        "autoscaling_settings": describe_autoscaling(environment.settings),
        "promotion_settings": asdict(environment.promotion_settings),
        "instance_type": find_instance_type(environment.instance_type).as_json(),
        "request_backpressure_settings": describe_backpressure(environment.settings),
        "autoscaling_schedules": _describe_schedules(environment, current is not None) if has_schedules else None,
        "traffic_routing": {"rules": [_describe_rule(endpoint, rule) for rule in active_rules(workspace, environment)]},
    }


def describe_promotion(promotion: Promotion | None) -> Content | None:
    """Return a promotion in the form of Baseten's API."""
    if promotion is None:
        return None
    return {
        "status": promotion.status,
        "percent_traffic_to_new_version": promotion.percent,
        "error_message": promotion.error_message,
        "rolling_deploy": promotion.settings.rolling_deploy,
    }


def active_rules(workspace: Workspace, environment: Environment) -> list[TrafficRule]:
    """Return the traffic rules that have not expired."""
    return [rule for rule in environment.traffic_rules.values() if rule.expires_at > workspace.clock.now()]


def _describe_schedules(environment: Environment, has_deployment: bool) -> Content:
    schedule = environment.schedules.get(environment.applied_schedule or "")
    settings = environment.settings if schedule is None else schedule.settings.apply_to(environment.settings)
    applied = {
        "schedule_id": environment.applied_schedule,
        "autoscaling_settings": describe_autoscaling(settings),
    }
    return {
        "timezone": environment.timezone,
        "schedules": [_describe_schedule(schedule) for schedule in environment.schedules.values()],
        "applied_state": applied if has_deployment else None,
    }


def _describe_schedule(schedule: Schedule) -> Content:
    content = {
        "id": schedule.id,
        "name": schedule.name,
        "enabled": schedule.enabled,
        "autoscaling_settings": asdict(schedule.settings),
        "cadence": schedule.cadence,
    }
    if schedule.cadence == "ONE_TIME":
        return content | {"start_at": timestamp(schedule.start_at), "end_at": timestamp(schedule.end_at)}
    return content | {
        "weekdays": list(schedule.weekdays),
        "start_hour": schedule.start_hour,
        "start_minute": schedule.start_minute,
        "end_hour": schedule.end_hour,
        "end_minute": schedule.end_minute,
    }


def _describe_rule(endpoint: Endpoint, rule: TrafficRule) -> Content:
    target = {"model_id": endpoint.id, "deployment_id": rule.deployment_id, "environment": rule.environment}
    return {
        "id": rule.id,
        "type": rule.type,
        "targets": [target],
        "percent_traffic": rule.percent_traffic,
        "expires_at": timestamp(rule.expires_at),
        "sampling_mode": rule.sampling_mode,
        "propagate_client_cancellation": rule.propagate_client_cancellation,
    }
