"""Model APIs: the models, their prices and their use."""

import math

from airflow_provider_baseten.emulator.clock import timestamp
from airflow_provider_baseten.emulator.errors import GatewayError, bad_request
from airflow_provider_baseten.emulator.management.pages import paginate
from airflow_provider_baseten.emulator.management.queries import read_choice, read_choices, read_time, require
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.model_apis import describe_model
from airflow_provider_baseten.emulator.token_usage import TokenUsage

# Width of a bucket -> its seconds, the default and the maximum of buckets on a page.
_BUCKETS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86_400, 7, 31)}
# What the usage is grouped by -> the field of the response.
_GROUPS = {"api_key": "api_key_prefix", "user": "user_id", "model": "model", "team": "team_id"}


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    models = [describe_model(slug, workspace.model_prices.get(slug)) for slug in workspace.model_apis]
    read_choice(request, "added_only", ("true", "false"))
    return paginate(request, models, maximum=1000, default=100)


def _get(workspace: Workspace, request: ManagementRequest) -> Content:
    slug = request.parameters["slug"]
    if slug not in workspace.model_apis:
        raise GatewayError(404, f"Model API {slug[:80]} does not exist.")
    return describe_model(slug, workspace.model_prices.get(slug))


def _list_usage(workspace: Workspace, request: ManagementRequest) -> Content:
    start = require(read_time(request, "start_time"), "start_time")
    end = read_time(request, "end_time") or workspace.clock.now()
    if start > end:
        raise bad_request("start_time must be before end_time.")
    width, default, maximum = _BUCKETS[read_choice(request, "bucket_width", _BUCKETS) or "1d"]
    group_by = read_choices(request, "group_by", _GROUPS)
    selected = [usage for usage in workspace.token_usage if start <= usage.time < end and _is_selected(usage, request)]
    starts = range(int(start // width * width), math.ceil(end), width)
    page = paginate(request, starts, maximum=maximum, default=default)
    page["items"] = [
        {
            "start_time": timestamp(begin),
            "end_time": timestamp(begin + width),
            "results": _sum_groups([one for one in selected if begin <= one.time < begin + width], group_by),
        }
        for begin in page["items"]
    ]
    return page


def _is_selected(usage: TokenUsage, request: ManagementRequest) -> bool:
    own = {"api_keys": usage.key_prefix, "user_ids": "emulator", "models": usage.model, "team_ids": "default"}
    return all(value in request.query[name] for name, value in own.items() if name in request.query)


def _sum_groups(usages: list[TokenUsage], group_by: list[str]) -> list[Content]:
    groups: dict[tuple[str | None, ...], list[TokenUsage]] = {}
    for usage in usages:
        own = {"api_key": usage.key_prefix, "user": "emulator", "model": usage.model, "team": "default"}
        groups.setdefault(tuple(own[name] if name in group_by else None for name in _GROUPS), []).append(usage)
    return [
        {
            **dict(zip(_GROUPS.values(), key, strict=True)),
            "input_tokens": sum(usage.input_tokens for usage in group),
            "cached_input_tokens": sum(usage.cached_input_tokens for usage in group),
            "uncached_input_tokens": sum(usage.input_tokens - usage.cached_input_tokens for usage in group),
            "output_tokens": sum(usage.output_tokens for usage in group),
            "request_count": len(group),
        }
        for key, group in groups.items()
    ]


ROUTES = (
    Route("GET", "model_apis", _list),
    Route("GET", "model_apis/usage", _list_usage),
    Route("GET", "model_apis/{slug}", _get),
)
