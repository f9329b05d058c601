"""Startups of replicas: attempts, and a summary of their durations."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint
from airflow_provider_baseten.emulator.management import deployments
from airflow_provider_baseten.emulator.management.log_queries import read_window
from airflow_provider_baseten.emulator.management.pages import paginate
from airflow_provider_baseten.emulator.management.promotions import find_environment
from airflow_provider_baseten.emulator.management.queries import (
    read_choice,
    read_choices,
    read_integer,
    read_text,
    require,
)
from airflow_provider_baseten.emulator.management.routes import Content, Handler, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.startups import Startup, StartupPhase, percentile

_OUTCOMES = ("SUCCESS", "FAILED", "STALLED")
_SUMMARY_SIZE = 1000
_Found = tuple[Endpoint, list[Deployment], str | None]


def _of_deployment(workspace: Workspace, request: ManagementRequest) -> _Found:
    endpoint, deployment = deployments.find_addressed(workspace, request)
    return endpoint, [deployment], deployments.describe_deployment(endpoint, deployment)["environment"]


def _of_environment(workspace: Workspace, request: ManagementRequest) -> _Found:
    endpoint, environment = find_environment(workspace, request)
    current = endpoint.deployments.get(environment.deployment_id or "")
    return endpoint, [current] if current else [], environment.name


def _read_window(workspace: Workspace, request: ManagementRequest) -> tuple[float, float]:
    start = require(read_integer(request, "start_epoch_millis", 0), "start_epoch_millis")
    end = require(read_integer(request, "end_epoch_millis", 0), "end_epoch_millis")
    return read_window(start, end, workspace.clock.now(), 0)


def _select(
    workspace: Workspace, request: ManagementRequest, found: list[Deployment]
) -> list[tuple[Deployment, Startup]]:
    start, end = _read_window(workspace, request)
    minimum = read_integer(request, "min_duration_ms", 0) or 0
    return [
        (deployment, startup)
        for deployment in found
        for startup in deployment.startups.attempts
        if start <= startup.begin <= end and startup.seconds * 1000 >= minimum
    ]


def _list(workspace: Workspace, request: ManagementRequest, found: _Found) -> Content:
    endpoint, own, environment = found
    outcomes = read_choices(request, "outcomes", _OUTCOMES)
    phase = read_choice(request, "phase", get_args(StartupPhase))
    search = read_text(request, "search") or ""
    attempts = [
        (deployment, startup)
        for deployment, startup in _select(workspace, request, own)
        if (not outcomes or startup.outcome in outcomes)
        and (phase is None or phase in startup.phases)
        and (search in startup.replica_id or search in deployment.name)
    ]
    sort_by = read_choice(request, "sort_by", ("OUTCOME", "STARTED_AT", "READY_AT", "DURATION")) or "STARTED_AT"
    keys: dict[str, Callable[[Any], Any]] = {
        "OUTCOME": lambda pair: pair[1].outcome,
        "STARTED_AT": lambda pair: pair[1].begin,
        "READY_AT": lambda pair: pair[1].end,
        "DURATION": lambda pair: pair[1].seconds,
    }
    descending = (read_choice(request, "direction", ("asc", "desc")) or "desc") == "desc"
    attempts.sort(key=keys[sort_by], reverse=descending)
    described = [_describe(endpoint, deployment, startup, environment) for deployment, startup in attempts]
    return paginate(request, described, maximum=100, default=50) | {"total_count": len(described)}


def _describe(endpoint: Endpoint, deployment: Deployment, startup: Startup, environment: str | None) -> Content:
    offset, phases = 0.0, []
    for number, (phase, seconds) in enumerate(startup.phases.items(), 1):
        is_failed = startup.outcome == "FAILED" and number == len(startup.phases)
        status = "FAILED" if is_failed else "COMPLETED"
        phases.append(
            {"phase": phase, "status": status, "offset_ms": round(offset * 1000), "duration_ms": round(seconds * 1000)}
        )
        offset += seconds
    return {
        "model_id": endpoint.id,
        "deployment_id": deployment.id,
        "deployment_name": deployment.name,
        "environment_name": environment,
        "replica_id": startup.replica_id,
        "started_at_epoch_millis": round(startup.begin * 1000),
        "ready_at_epoch_millis": round(startup.end * 1000) if startup.outcome == "SUCCESS" else None,
        "duration_ms": round(startup.seconds * 1000),
        "outcome": startup.outcome,
        "phase_summary": phases,
    }


def _summarize(workspace: Workspace, request: ManagementRequest, found: _Found) -> Content:
    start, end = _read_window(workspace, request)
    startups = [startup for _, startup in _select(workspace, request, found[1])][-_SUMMARY_SIZE:]
    successes = [startup for startup in startups if startup.outcome == "SUCCESS"]
    phases = [
        (phase, [startup.phases[phase] for startup in successes if phase in startup.phases])
        for phase in get_args(StartupPhase)
    ]
    return {
        "start_epoch_millis": round(start * 1000),
        "end_epoch_millis": round(end * 1000),
        "total_duration_ms": _percentiles([startup.seconds for startup in successes]),
        "phase_duration_ms": [
            {"phase": phase, "duration_ms": _percentiles(seconds)} for phase, seconds in phases if seconds
        ],
    }


def _percentiles(seconds: Sequence[float]) -> Content:
    values = {f"p{number}_ms": percentile(seconds, number) for number in (50, 90, 95, 99)}
    values["mean_ms"] = sum(seconds) / len(seconds) if seconds else None
    milliseconds = {name: None if value is None else round(value * 1000) for name, value in values.items()}
    return {"sample_count": len(seconds), **milliseconds}


def _handle(
    find: Callable[[Workspace, ManagementRequest], _Found],
    respond: Callable[[Workspace, ManagementRequest, _Found], Content],
) -> Handler:
    def handle(workspace: Workspace, request: ManagementRequest) -> Content:
        return respond(workspace, request, find(workspace, request))

    return handle


_DEPLOYMENT = "models/{id}/deployments/{deployment_id}/startups"
_ENVIRONMENT = "models/{id}/environments/{environment}/startups"
ROUTES = (
    Route("GET", _DEPLOYMENT, _handle(_of_deployment, _list)),
    Route("GET", f"{_DEPLOYMENT}/summary", _handle(_of_deployment, _summarize)),
    Route("GET", _ENVIRONMENT, _handle(_of_environment, _list)),
    Route("GET", f"{_ENVIRONMENT}/summary", _handle(_of_environment, _summarize)),
)
