"""Billing: what the workspace has used in a time, with the prices of the emulator's instance types."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from airflow_provider_baseten.emulator.endpoints import environments_of
from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.instance_types import DEFAULT_INSTANCE_TYPE, price
from airflow_provider_baseten.emulator.management.queries import read_time, require
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.training_content import get_instance_type
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.token_usage import TokenUsage, cost

_MAX_SECONDS = 31 * 86_400
_FIRST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_Window = tuple[float, float]


def _get_usage_summary(workspace: Workspace, request: ManagementRequest) -> Content:
    start = require(read_time(request, "start_date"), "start_date")
    end = require(read_time(request, "end_date"), "end_date")
    if not _FIRST <= start <= end <= start + _MAX_SECONDS:
        raise bad_request("start_date is at the earliest 2026-01-01, and end_date at most 31 days later.")
    window = start, end
    training = [_describe_job(workspace, job_id, window) for job_id in workspace.training.jobs]
    dedicated = [
        _describe_deployment(workspace, id_, deployment_id, window)
        for id_, deployment_id in workspace.meter.deployments()
        if id_ not in workspace.model_apis
    ]
    return {
        "dedicated_usage": _total(dedicated),
        "training_usage": _total([item for item in training if item["minutes"]]),
        "model_apis_usage": _describe_model_apis(workspace, window),
    }


def _describe_deployment(workspace: Workspace, id_: str, deployment_id: str, window: _Window) -> Content:
    endpoint = workspace.models.get(id_) or workspace.chains.get(id_)
    instance_type = endpoint.instance_type if endpoint else DEFAULT_INSTANCE_TYPE
    is_chain = endpoint is not None and endpoint.kind == "chain"
    names = [environment.name for environment in environments_of(endpoint, deployment_id)] if endpoint else []
    chain = {"chain_id": id_, "chain_name": endpoint.name if endpoint else None, "chain_deployment_id": deployment_id}

    def measure(window: _Window) -> Content:
        start, end = window
        minutes = workspace.meter.replica_minutes(id_, deployment_id, start=start, end=end)
        amount = _money(minutes * price(instance_type))
        return {
            "subtotal": amount,
            "compute_cost": amount,
            "surcharge_cost": _money(0),
            "minutes": round(minutes),
            "inference_requests": workspace.meter.paid_requests(id_, deployment_id, start=start, end=end),
        }

    return {
        "billable_resource": {
            "id": deployment_id,
            "kind": "CHAINLET" if is_chain else "MODEL_DEPLOYMENT",
            "name": f"deployment-{deployment_id}",
            "model_id": None if is_chain else id_,
            "model_name": endpoint.name if endpoint and not is_chain else None,
            "is_deleted": endpoint is None or deployment_id not in endpoint.deployments,
            "instance_type": instance_type.name,
            "environment_name": names[0] if names else None,
            "chain_metadata": chain if is_chain else None,
        },
        **measure(window),
        "daily": [{"date": date, **measure(day)} for date, day in _days(window)],
    }


def _describe_job(workspace: Workspace, job_id: str, window: _Window) -> Content:
    job = workspace.training.jobs[job_id]
    instance_type = get_instance_type(job)

    def measure(window: _Window) -> Content:
        minutes = workspace.meter.training_minutes(job_id, start=window[0], end=window[1])
        return {"subtotal": _money(minutes * price(instance_type)), "minutes": round(minutes)}

    return {
        "billable_resource": {
            "id": job_id,
            "kind": "TRAINING_JOB",
            "name": job.name,
            "is_deleted": False,
            "instance_type": instance_type.name,
        },
        **measure(window),
        "daily": [{"date": date, **measure(day)} for date, day in _days(window)],
    }


def _describe_model_apis(workspace: Workspace, window: _Window) -> Content:
    usages = [usage for usage in workspace.token_usage if window[0] <= usage.time <= window[1]]
    items = [
        {
            "model_name": slug,
            "model_family": None,
            **_sum_tokens(workspace, [usage for usage in usages if usage.model == slug]),
            "daily": None,
        }
        for slug in dict.fromkeys(usage.model for usage in usages)
    ]
    total = _money(sum(float(item["subtotal"]) for item in items))
    return {"subtotal": total, "credits_used": _money(0), "total": total, "breakdown": items}


def _sum_tokens(workspace: Workspace, usages: list[TokenUsage]) -> Content:
    return {
        "subtotal": _money(sum(cost(usage, workspace.model_prices) for usage in usages)),
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
        "cached_input_tokens": sum(usage.cached_input_tokens for usage in usages),
    }


def _total(items: list[Content]) -> Content:
    subtotal = _money(sum(float(item["subtotal"]) for item in items))
    minutes = sum(item["minutes"] for item in items)
    return {"subtotal": subtotal, "credits_used": _money(0), "total": subtotal, "minutes": minutes, "breakdown": items}


def _days(window: _Window) -> Iterator[tuple[str, _Window]]:
    """Yield the days (UTC) of a time, each with the part of the time that is in it."""
    start, end = window
    day = datetime.fromtimestamp(start, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day.timestamp() < end:
        following = day + timedelta(days=1)
        yield day.date().isoformat(), (max(start, day.timestamp()), min(end, following.timestamp()))
        day = following


def _money(amount: float) -> str:
    return f"{amount:.6f}"


ROUTES = (Route("GET", "billing/usage_summary", _get_usage_summary),)
