"""Baseten's own SDK as the client of the emulator's management API: every operation that the emulator serves.

The SDK checks every answer with its own models. What the answers mean is tested elsewhere; here an operation is called
in a situation in which it succeeds.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from baseten.client import ManagementClient
from baseten.client.managementapi import ApiClient, _client
from management_document import make_document, sample_path
from truth_support import API_KEY

from airflow_provider_baseten.emulator import Durations, Emulator, Limits, Model
from airflow_provider_baseten.emulator.errors import GatewayError
from airflow_provider_baseten.emulator.management.api import ROUTES
from airflow_provider_baseten.emulator.management.routes import find_route

MODEL, DEPLOYMENT = {"model_id": "abc"}, {"model_id": "abc", "deployment_id": "abcd1"}
ENVIRONMENT = {"model_id": "abc", "env_name": "production"}
CHAIN, CHAIN_DEPLOYMENT = {"chain_id": "xyz"}, {"chain_id": "xyz", "chain_deployment_id": "xyzd1"}
CHAIN_ENVIRONMENT = {"chain_id": "xyz", "env_name": "production"}
MILLISECONDS = {"start_epoch_millis": 1, "end_epoch_millis": 2}
NOW = datetime.now(UTC)
DAY = {"start_date": NOW - timedelta(days=1), "end_date": NOW}

# Operations that succeed in a new workspace: name of the method, arguments.
READS: list[tuple[str, dict[str, Any]]] = [
    ("get_users_me", {}),
    ("get_organizations_me", {}),
    ("get_regions", {}),
    ("get_instance_types", {}),
    ("get_instance_type_prices", {}),
    ("get_model_apis", {"params": {"added_only": True}}),
    ("get_model_apis_model_api_name", {"model_api_name": "chat"}),
    ("get_model_apis_usage", {"params": {"start_time": DAY["start_date"], "group_by": ["model"]}}),
    ("get_billing_usage_summary", {"params": DAY}),
    ("get_billing_model_apis", {"params": {"start_date": NOW.date(), "group_by": ["model"]}}),
    ("get_billing_tool_call_usage", {"params": {"start_date": NOW.date()}}),
    ("get_audit_logs", {"params": {"limit": 1}}),
    ("get_models_audit_logs", MODEL),
    ("get_chains_audit_logs", CHAIN),
    ("get_models", {"params": {"name": "abc"}}),
    ("get_models_model_id", MODEL),
    ("get_models_deployments", MODEL),
    ("get_models_deployments_deployment_id", DEPLOYMENT),
    ("get_models_deployments_production", MODEL),
    ("get_models_deployments_development", MODEL),
    ("get_models_deployments_logs", DEPLOYMENT | {"params": {"limit": 1, "includes": ["a", "b"]}}),
    ("post_models_deployments_logs", DEPLOYMENT | {"request": {"limit": 1}}),
    ("get_models_deployments_metrics", DEPLOYMENT),
    ("get_models_deployments_startups", DEPLOYMENT | {"params": MILLISECONDS}),
    ("get_models_deployments_startups_summary", DEPLOYMENT | {"params": MILLISECONDS}),
    ("get_models_environments", MODEL),
    ("get_models_environments_env_name", ENVIRONMENT),
    ("get_models_environments_logs", ENVIRONMENT),
    ("get_models_environments_metrics", ENVIRONMENT | {"params": {"mode": "SERIES"}}),
    ("get_models_environments_startups", ENVIRONMENT | {"params": MILLISECONDS}),
    ("get_models_environments_startups_summary", ENVIRONMENT | {"params": MILLISECONDS}),
    ("get_chains", {}),
    ("get_chains_chain_id", CHAIN),
    ("get_chains_deployments", CHAIN),
    ("get_chains_deployments_chain_deployment_id", CHAIN_DEPLOYMENT),
    ("get_chains_deployments_chainlets_logs", CHAIN_DEPLOYMENT | {"chainlet_id": "xyzd1c1"}),
    ("get_chains_environments", CHAIN),
    ("get_chains_environments_env_name", CHAIN_ENVIRONMENT),
    ("get_training_projects", {}),
    ("get_training_capacity", {}),
]
# Operations that change the workspace, in an order in which each succeeds.
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("patch_models", MODEL | {"request": {"name": "renamed"}}),
    ("patch_models_deployments", DEPLOYMENT | {"request": {"name": "v1"}}),
    ("patch_models_deployments_autoscaling_settings", DEPLOYMENT | {"request": {"max_replica": 2}}),
    ("patch_models_deployments_production_autoscaling_settings", MODEL | {"request": {"max_replica": 3}}),
    ("patch_models_deployments_development_autoscaling_settings", MODEL | {"request": {"scale_down_delay": 9}}),
    ("patch_models_deployments_request_backpressure_settings", DEPLOYMENT | {"request": {"policy": None}}),
    ("delete_models_deployments_replicas", DEPLOYMENT | {"replica_id": "abcd1-r1"}),
    *(
        (f"post_models_deployments{name}_{action}", MODEL if name else DEPLOYMENT)
        for name in ("", "_production", "_development")
        for action in ("deactivate", "activate", "retry")
    ),
    ("post_models_environments_deactivate", ENVIRONMENT),
    ("post_models_environments_activate", ENVIRONMENT),
    ("post_models_environments", MODEL | {"request": {"name": "staging", "autoscaling_settings": {"max_replica": 2}}}),
    ("patch_models_environments", ENVIRONMENT | {"request": {"promotion_settings": {"rolling_deploy": False}}}),
    ("post_models_environments_promote", ENVIRONMENT | {"request": {"deployment_id": "abcd9"}}),
    ("post_models_deployments_promote", DEPLOYMENT | {"deployment_id": "abcd8", "request": {}}),
    ("post_models_deployments_development_promote", MODEL | {"request": {}}),
    ("delete_models_environments", {"model_id": "abc", "env_name": "staging"}),
    ("delete_models_deployments", DEPLOYMENT | {"deployment_id": "abcd9"}),
    ("delete_models", MODEL),
    ("post_chains_deployments_deactivate", CHAIN_DEPLOYMENT),
    ("post_chains_environments", CHAIN | {"request": {"name": "staging"}}),
    ("patch_chains_environments", CHAIN_ENVIRONMENT | {"request": {"promotion_settings": {"rolling_deploy": False}}}),
    (
        "patch_chains_environments_chainlet_settings_autoscaling_settings",
        CHAIN_ENVIRONMENT
        | {"request": {"updates": [{"chainlet_name": "xyz", "autoscaling_settings": {"max_replica": 2}}]}},
    ),
    ("post_chains_environments_promote", CHAIN_ENVIRONMENT | {"request": {"deployment_id": "xyzd9"}}),
    ("delete_chains_deployments", CHAIN_DEPLOYMENT | {"chain_deployment_id": "xyzd8"}),
    ("delete_chains", CHAIN),
]
CONTROLS = [f"post_models_environments_{name}_promotion" for name in ("pause", "resume", "cancel")]
FORCED = [f"post_models_environments_force_{name}_promotion" for name in ("cancel", "roll_forward")]
TRAINING = [
    "post_training_projects",
    "post_teams_training_projects",
    "get_training_projects_training_project_id",
    "post_training_projects_jobs",
    "get_training_projects_jobs",
    "get_training_projects_jobs_training_job_id",
    "patch_training_projects_jobs",
    "post_training_jobs_search",
    "get_training_jobs_queue_context",
    "post_training_projects_jobs_stop",
    "post_training_projects_jobs_recreate",
    "get_training_projects_jobs_logs",
    "post_training_projects_jobs_logs",
    "get_training_projects_jobs_metrics",
    "post_training_projects_jobs_metrics",
    "get_training_projects_jobs_checkpoints",
    "get_training_projects_jobs_checkpoint_files",
    "get_training_projects_jobs_download",
    "delete_training_projects_jobs",
    "delete_training_projects",
]


class Sdk:
    """The SDK's client. Requests and parameters can be given as dicts."""

    def __init__(self, emulator: Emulator, api: ApiClient) -> None:
        self.emulator = emulator
        self._api = api

    def call(self, name: str, **arguments: Any) -> Any:
        hints = get_type_hints(getattr(ApiClient, name), vars(_client))
        for argument in {"request", "params"} & arguments.keys():
            hint = hints[argument]
            model = next(one for one in (*getattr(hint, "__args__", ()), hint) if inspect.isclass(one))
            arguments[argument] = model.model_validate(arguments[argument])
        return getattr(self._api, name)(**arguments)


@pytest.fixture
def start() -> Iterator[Callable[..., Sdk]]:
    with ExitStack() as stack:

        def make(**options: Any) -> Sdk:
            def echo(model_input: Any) -> Any:
                return model_input

            models = {"abc": Model(echo, candidates={"abcd8": None, "abcd9": None})}
            chains = {"xyz": Model(echo, candidates={"xyzd8": None, "xyzd9": None})}
            limits = Limits(management_rates=False)
            emulator = Emulator(models, chains, model_apis={"chat": echo}, api_key=API_KEY, limits=limits, **options)
            stack.enter_context(emulator)
            client = stack.enter_context(ManagementClient(api_key=API_KEY, base_url_override=emulator.url))
            return Sdk(emulator, client.api)

        yield make


def test_reads(start: Callable[..., Sdk]) -> None:
    sdk = start(training_capacity={"H100": 8})
    for name, arguments in READS:
        assert sdk.call(name, **arguments) is not None, name


def test_changes(start: Callable[..., Sdk]) -> None:
    sdk = start()
    for name, arguments in CHANGES:
        # In the emulator, `development` is the first deployment, which has to be out of production to be promoted.
        assert sdk.call(name, **arguments) is not None, name


@pytest.mark.parametrize("names", [CONTROLS, FORCED[:1], FORCED[1:]])
def test_control_of_promotions(start: Callable[..., Sdk], names: list[str]) -> None:
    sdk = start(durations=Durations(release=600))
    sdk.call("post_models_environments_promote", **ENVIRONMENT, request={"deployment_id": "abcd9"})
    for name in names:
        sdk.call(name, **ENVIRONMENT)
    shown = sdk.call("get_models_environments_env_name", **ENVIRONMENT)
    assert shown.in_progress_promotion is None
    assert shown.current_deployment.id == ("abcd9" if "roll_forward" in names[-1] else "abcd1")


def test_training(start: Callable[..., Sdk]) -> None:
    sdk = start()
    project = sdk.call("post_training_projects", request={"training_project": {"name": "p"}}).training_project
    again = sdk.call("post_teams_training_projects", team_id="t", request={"training_project": {"name": "p"}})
    assert again.training_project.id == project.id
    ids = {"training_project_id": project.id}
    assert sdk.call("get_training_projects_training_project_id", **ids).training_project.name == "p"
    sdk.emulator.hold_training()
    runtime = {"start_commands": ["echo hello"], "checkpointing_config": {"enabled": True}}
    body = {"training_job": {"image": {"base_image": "x"}, "runtime": runtime, "name": "n"}}
    job = sdk.call("post_training_projects_jobs", **ids, request=body).training_job
    one = ids | {"training_job_id": job.id}

    def status(job_id: str) -> str:
        found = sdk.call("get_training_projects_jobs_training_job_id", **ids, training_job_id=job_id)
        return found.training_job.current_status.removeprefix("TRAINING_JOB_")

    _until(lambda: status(job.id) == "PENDING")
    assert sdk.call("patch_training_projects_jobs", **one, request={"priority": 3}).training_job.priority == 3
    assert sdk.call("get_training_jobs_queue_context", training_job_id=job.id).requested_gpus == 0
    sdk.call("post_training_projects_jobs_stop", **one, request={})
    assert status(job.id) == "STOPPED"
    sdk.emulator.release_training()
    recreated = sdk.call("post_training_projects_jobs_recreate", **one).training_job
    _until(lambda: status(recreated.id) == "COMPLETED")
    assert len(sdk.call("get_training_projects_jobs", **ids).training_jobs) == 2
    assert len(sdk.call("post_training_jobs_search", request={"project_id": project.id}).training_jobs) == 2
    done = ids | {"training_job_id": recreated.id}
    for logs in (
        sdk.call("get_training_projects_jobs_logs", **done),
        sdk.call("post_training_projects_jobs_logs", **done, request={}),
    ):
        assert [line.message for line in logs.logs] == ["hello"]
    for kind in ("checkpoints", "checkpoint_files", "download", "metrics"):
        assert sdk.call(f"get_training_projects_jobs_{kind}", **done)
    assert sdk.call("post_training_projects_jobs_metrics", **done, request={}).cpu_usage == []
    assert sdk.call("delete_training_projects_jobs", **one).deleted
    assert sdk.call("delete_training_projects", **ids).deleted


def test_every_operation_that_is_served_is_called() -> None:
    served = set()
    for path, operations in make_document()["paths"].items():
        for method, operation in operations.items():
            try:
                find_route(ROUTES, method.upper(), sample_path(path))
            except GatewayError:
                continue
            served.add(operation["operationId"])
    assert served == {*(name for name, _ in READS + CHANGES), *CONTROLS, *FORCED, *TRAINING}


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)
