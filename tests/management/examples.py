"""An example of every call of the management API, by the name of the method."""

from datetime import date
from typing import Any

import pendulum

from airflow_provider_baseten.api.target import Target

PRODUCTION = Target(model_id="abc")
STAGING = Target(model_id="abc", environment="staging")
DEVELOPMENT = Target(model_id="abc", environment="development")
DEPLOYMENT = Target(model_id="abc", deployment_id="d1")
CHAIN_DEPLOYMENT = Target(chain_id="xyz", deployment_id="c1")
START, END = pendulum.datetime(2026, 11, 1, tz="Europe/Berlin"), pendulum.datetime(2026, 11, 2, 3, 4, 5)
SETTINGS = {"min_replica": 0, "max_replica": 3, "scale_down_delay": 60, "max_scale_down_rate": None}
DAILY = {
    "name": "night",
    "enabled": True,
    "cadence": "DAILY",
    "weekdays": ["MONDAY", "SUNDAY"],
    "start_hour": 22,
    "start_minute": 30,
    "end_hour": 4,
    "end_minute": 0,
    "autoscaling_settings": {"min_replica": 2, "max_replica": 4, "concurrency_target": 8},
}
HOURLY = {key: value for key, value in DAILY.items() if key not in {"start_hour", "end_hour"}} | {"cadence": "HOURLY"}
ONCE = {
    "id": "s1",
    "name": "launch",
    "enabled": False,
    "cadence": "ONE_TIME",
    "start_at": START,
    "end_at": END,
    "autoscaling_settings": {"min_replica": 2, "max_replica": 2},
}
SCHEDULES = {"timezone": "Europe/Berlin", "schedules": [DAILY, HOURLY, ONCE], "delete_schedules": ["s2"]}
PROMOTION_SETTINGS = {
    "redeploy_on_promotion": False,
    "rolling_deploy": True,
    "promotion_cleanup_strategy": "KEEP",
    "rolling_deploy_config": {"max_surge_percent": 50, "stabilization_time_seconds": None},
    "ramp_up_while_promoting": None,
    "ramp_up_duration_seconds": 60,
}
ENVIRONMENT = {
    "autoscaling_settings": SETTINGS,
    "promotion_settings": PROMOTION_SETTINGS,
    "autoscaling_schedule_settings": SCHEDULES,
    "request_backpressure_settings": {"policy": None},
    "traffic_routing_settings": {"delete_rules": ["r1"]},
}
TRAINING_JOB = {
    "image": {"base_image": "python:3.11", "docker_auth": None},
    "compute": {
        "node_count": 2,
        "cpu_count": 4,
        "memory": "16Gi",
        "accelerator": {"accelerator": "H100", "count": 8},
        "availability_model": "spot",
    },
    "runtime": {
        "start_commands": ["python train.py"],
        "environment_variables": {"EPOCHS": "3", "TOKEN": {"name": "hf"}},
        "artifacts": [{"s3_bucket": "b", "s3_key": "k"}],
        "checkpointing_config": {"enabled": True},
    },
    "name": "train-1",
    "priority": 2,
}
LOG_FILTER = {
    "start": START,
    "end": END,
    "direction": "asc",
    "limit": 1000,
    "min_level": "WARNING",
    "replica": "r",
    "request_id": "q",
    "component": "model",
    "search_pattern": "a.*b",
    "includes": ["a", "b c"],
    "excludes": ["d"],
}
AUDIT_FILTER = {
    "start": START,
    "end": END,
    "direction": "ASC",
    "limit": 200,
    "search": "x",
    "event_type_groups": ["PROMOTED", "SECRETS"],
    "sources": ["API"],
    "user_ids": ["u"],
    "deployment_ids": ["d1"],
    "chain_deployment_ids": ["c1"],
    "environment_names": ["production"],
}

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def of(*positional: Any, **named: Any) -> Arguments:
    return positional, named


EXAMPLES: dict[str, list[Arguments]] = {
    "list_models": [of(), of("my model&x=1")],
    "get_model": [of("abc")],
    "delete_model": [of("abc")],
    "list_deployments": [of("abc"), of("abc", "d")],
    "get_deployment": [of("abc", "d1"), of("abc", "production"), of("abc", "development")],
    "activate": [of(PRODUCTION), of(STAGING), of(DEVELOPMENT), of(DEPLOYMENT)],
    "deactivate": [of(PRODUCTION), of(STAGING), of(DEVELOPMENT), of(DEPLOYMENT), of(CHAIN_DEPLOYMENT)],
    "retry_deployment": [of(PRODUCTION), of(DEVELOPMENT), of(DEPLOYMENT)],
    "delete_deployment": [of("abc", "d1")],
    "terminate_replica": [of("abc", "d1", "r1")],
    "update_autoscaling": [of(PRODUCTION, SETTINGS), of(DEVELOPMENT, SETTINGS), of(DEPLOYMENT, {"max_replica": "7"})],
    "update_backpressure": [of(DEPLOYMENT, {"policy": "REJECT_ON_FULL"}), of(DEPLOYMENT, {"policy": None})],
    "list_environments": [of("abc")],
    "get_environment": [of("abc", "staging")],
    "create_environment": [
        of("abc", "staging"),
        of(
            "abc",
            "staging",
            autoscaling_settings=SETTINGS,
            promotion_settings=PROMOTION_SETTINGS,
            request_backpressure_settings={"policy": "QUEUE_ON_FULL"},
        ),
    ],
    "update_environment": [of("abc", "staging", ENVIRONMENT)],
    "delete_environment": [of("abc", "staging")],
    "promote": [
        of("abc", "d1"),
        of("abc", "development"),
        of("abc", "d1", "staging", scale_down_previous_deployment=False),
        of(
            "abc",
            "d1",
            "staging",
            preserve_env_instance_type=False,
            environment_settings_update={
                "region": "",
                "instance_type_id": "1x2",
                "autoscaling_settings": SETTINGS,
                "autoscaling_schedule_settings": SCHEDULES,
                "promotion_settings": PROMOTION_SETTINGS,
            },
            promotion_settings_override=PROMOTION_SETTINGS,
        ),
        of("abc", "d1", promotion_settings_override={"promotion_cleanup_strategy": "DEACTIVATE"}),
    ],
    "cancel_promotion": [of("abc", "staging")],
    "pause_promotion": [of("abc", "staging")],
    "resume_promotion": [of("abc", "staging")],
    "force_cancel_promotion": [of("abc", "staging")],
    "force_roll_forward_promotion": [of("abc", "staging")],
    "list_startups": [
        of(STAGING, start=START, end=END),
        of(DEPLOYMENT, start=START, end=END, min_duration_ms=5, outcomes=["FAILED", "STALLED"], limit=2),
    ],
    "get_startup_summary": [of(DEPLOYMENT, start=START, end=END, min_duration_ms=5), of(STAGING, start=START, end=END)],
    "get_logs": [of(PRODUCTION), of(DEPLOYMENT, **LOG_FILTER)],
    "get_chainlet_logs": [of("xyz", "c1", "l1"), of("xyz", "c1", "l1", **LOG_FILTER)],
    "get_metrics": [
        of(PRODUCTION),
        of(
            DEPLOYMENT,
            mode="SERIES",
            start=START,
            end=END,
            metrics=["baseten_replicas_active", "baseten_gpu_utilization"],
        ),
    ],
    "list_chains": [of()],
    "get_chain": [of("xyz")],
    "delete_chain": [of("xyz")],
    "list_chain_deployments": [of("xyz")],
    "get_chain_deployment": [of("xyz", "c1")],
    "delete_chain_deployment": [of("xyz", "c1")],
    "list_chain_environments": [of("xyz")],
    "get_chain_environment": [of("xyz", "staging")],
    "promote_chain": [of("xyz", "c1"), of("xyz", "c1", "staging", scale_down_previous_deployment=False)],
    "update_chainlet_autoscaling": [of("xyz", "staging", {"Summarizer": SETTINGS})],
    "list_training_projects": [of()],
    "ensure_training_project": [of("my project")],
    "get_training_project": [of("p1")],
    "create_training_job": [of("p1", TRAINING_JOB), of("p1", {"image": {"base_image": "python:3.11"}})],
    "list_training_jobs": [of("p1")],
    "search_training_jobs": [of(), of("p1", job_id="j1", statuses=["TRAINING_JOB_RUNNING"])],
    "get_training_job": [of("p1", "j1")],
    "update_training_job": [of("p1", "j1", {"priority": 3, "availability_model": "dedicated"})],
    "stop_training_job": [of("p1", "j1")],
    "recreate_training_job": [of("p1", "j1")],
    "delete_training_job": [of("p1", "j1")],
    "get_training_logs": [
        of("p1", "j1"),
        of("p1", "j1", start=START, end=END, direction="desc", limit=7, min_level="INFO"),
    ],
    "list_checkpoints": [of("p1", "j1")],
    "list_checkpoint_files": [of("p1", "j1"), of("p1", "j1", page_size=10, page_token=20)],
    "get_training_metrics": [of("p1", "j1"), of("p1", "j1", start=START, end=END)],
    "get_queue_context": [of("j1")],
    "list_gpu_capacity": [of()],
    "list_instance_types": [of()],
    "list_instance_prices": [of()],
    "list_model_apis": [of(), of(added_only=True)],
    "get_model_api": [of("deepseek-ai/DeepSeek-V4-Pro")],
    "get_usage_summary": [of(START, END)],
    "list_model_api_costs": [
        of(date(2026, 11, 1), date(2026, 11, 3)),
        of(date(2026, 11, 1), date(2026, 11, 3), group_by=["model", "user"], models=["a/b"], limit=31),
    ],
    "list_model_api_usage": [
        of(START),
        of(START, END, bucket_width="1h", group_by=["api_key"], models=["a/b"], limit=5),
    ],
    "list_tool_calls": [of(date(2026, 11, 1)), of(date(2026, 11, 1), date(2026, 11, 3))],
    "list_audit_logs": [of(), of("abc", **AUDIT_FILTER), of(chain_id="xyz")],
    "get_user": [of()],
    "get_organization": [of()],
}
