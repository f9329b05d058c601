"""Costs of the Model APIs by day, and of the tools that their models call."""

from datetime import UTC, date, datetime, timedelta

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.pages import paginate
from airflow_provider_baseten.emulator.management.queries import read_choices, read_text, require
from airflow_provider_baseten.emulator.management.routes import Content, ManagementRequest, Route
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.token_usage import TokenUsage, cost

_FIRST = date(2026, 8, 5)
_MAX_DAYS = 90
_SERVICE_TIER = "default"
# What costs are grouped by -> the field of the response.
_GROUPS = {
    "api_key_prefix": "api_key_prefixes",
    "user": "user_id",
    "model": "model",
    "service_tier": "service_tier",
}

# Query parameter -> what it selects.
_FILTERS = {
    "api_key_prefixes": "api_key_prefix",
    "user_ids": "user",
    "models": "model",
    "service_tiers": "service_tier",
}


def _list(workspace: Workspace, request: ManagementRequest) -> Content:
    today = datetime.fromtimestamp(workspace.clock.now(), UTC).date()
    end = _read_date(request, "end_date") or today
    start = _read_date(request, "start_date") or max(_FIRST, end - timedelta(days=6))
    if not _FIRST <= start <= end < start + timedelta(days=_MAX_DAYS):
        raise bad_request(f"start_date is at the earliest {_FIRST}, and end_date less than {_MAX_DAYS} days later.")
    group_by = read_choices(request, "group_by", _GROUPS)
    page = paginate(request, range((end - start).days + 1), maximum=31, default=7)
    page["items"] = [
        _describe(workspace, request, start + timedelta(days=number), group_by) for number in page["items"]
    ]
    return page


def _describe(workspace: Workspace, request: ManagementRequest, day: date, group_by: list[str]) -> Content:
    costs: dict[tuple[str | None, ...], float] = {}
    for usage in workspace.token_usage:
        own = _groups_of(usage)
        if datetime.fromtimestamp(usage.time, UTC).date() == day and _is_selected(own, request):
            key = tuple(own[name] if name in group_by else None for name in _GROUPS)
            costs[key] = costs.get(key, 0.0) + cost(usage, workspace.model_prices)
    results: list[Content] = [
        {**dict(zip(_GROUPS.values(), key, strict=True)), "subtotal": f"{amount:.6f}"} for key, amount in costs.items()
    ]
    for result in results:
        prefix = result["api_key_prefixes"]
        result["api_key_prefixes"] = None if prefix is None else [prefix]
    return {"date": day.isoformat(), "results": results}


def _groups_of(usage: TokenUsage) -> dict[str, str | None]:
    return {
        "api_key_prefix": usage.key_prefix,
        "user": "emulator",
        "model": usage.model,
        "service_tier": _SERVICE_TIER,
    }


def _is_selected(own: dict[str, str | None], request: ManagementRequest) -> bool:
    return all(own[group] in request.query[name] for name, group in _FILTERS.items() if name in request.query)


def _list_tool_calls(_: Workspace, request: ManagementRequest) -> Content:
    """Return the use of tools, which is always empty: the emulator's models call none on Baseten's side."""
    require(_read_date(request, "start_date"), "start_date")
    _read_date(request, "end_date")
    return {"items": []}


def _read_date(request: ManagementRequest, name: str) -> date | None:
    text = read_text(request, name)
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise bad_request(f"{name} must be a day, for example 2026-11-29.") from None


ROUTES = (
    Route("GET", "billing/model_apis", _list),
    Route("GET", "billing/tool_call_usage", _list_tool_calls),
)
