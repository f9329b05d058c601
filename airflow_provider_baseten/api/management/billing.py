"""Usage and costs of a workspace. Baseten's data is delayed by up to an hour."""

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, get_args

from airflow_provider_baseten.api.management.body import iso
from airflow_provider_baseten.api.management.call import Call, PagedCall, get, paged, reads
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.arguments import check_choice, check_count, shown
from airflow_provider_baseten.exceptions import BasetenInputError

CostGroup = Literal["api_key_prefix", "user", "model", "service_tier"]
UsageGroup = Literal["api_key", "user", "model", "team"]
BucketWidth = Literal["1m", "1h", "1d"]


class BillableResource(Resource):
    """What was billed: a deployment of a model, a chainlet, a training job and so on, see ``kind``."""

    id: str
    kind: str
    name: str | None = None
    model_id: str | None = None
    model_name: str | None = None
    environment_name: str | None = None
    instance_type: str | None = None
    is_deleted: bool = False


class DailyUsage(Resource):
    """Usage of one day; money in USD."""

    date: date
    subtotal: Decimal
    minutes: int | None = None
    inference_requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None


class DedicatedItem(Resource):
    """Usage of one resource of a dedicated deployment, or of training; money in USD."""

    billable_resource: BillableResource
    subtotal: Decimal
    minutes: int
    compute_cost: Decimal | None = None
    surcharge_cost: Decimal | None = None
    inference_requests: int | None = None
    daily: list[DailyUsage] | None = None


class ModelApiItem(Resource):
    """Usage of one of the Model APIs; money in USD."""

    model_name: str
    model_family: str | None = None
    subtotal: Decimal
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    daily: list[DailyUsage] | None = None


class ResourceUsage(Resource):
    """Usage of dedicated deployments or of training; money in USD."""

    subtotal: Decimal
    credits_used: Decimal
    total: Decimal
    minutes: int | None = None
    breakdown: list[DedicatedItem] | None = None


class ModelApisUsage(Resource):
    """Usage of Model APIs; money in USD."""

    subtotal: Decimal
    credits_used: Decimal
    total: Decimal
    breakdown: list[ModelApiItem] | None = None


class UsageSummary(Resource):
    """Usage and costs by kind; ``None`` for what was not used."""

    dedicated_usage: ResourceUsage | None = None
    training_usage: ResourceUsage | None = None
    model_apis_usage: ModelApisUsage | None = None


class ModelApiCost(Resource):
    """Cost of Model APIs of one group."""

    api_key_prefixes: list[str] | None = None
    user_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    subtotal: Decimal


class ModelApiCosts(Resource):
    """Costs of Model APIs on one day."""

    date: date
    results: list[ModelApiCost] | None = None


class ModelApiTokens(Resource):
    """Tokens and requests of one group."""

    api_key_prefix: str | None = None
    user_id: str | None = None
    model: str | None = None
    team_id: str | None = None
    input_tokens: int
    cached_input_tokens: int = 0
    uncached_input_tokens: int = 0
    output_tokens: int
    request_count: int


class ModelApiUsage(Resource):
    """Usage of Model APIs in one bucket of time."""

    start_time: Time
    end_time: Time
    results: list[ModelApiTokens] | None = None


class ToolCallUsage(Resource):
    """Calls of tools on one day."""

    date: date
    provider: str
    sku: str
    model: str
    calls: int
    quantity: float


class _ToolCalls(Resource):
    items: list[ToolCallUsage] | None = None


def get_usage_summary(start: datetime, end: datetime) -> Call[UsageSummary]:
    """Return usage and costs by resource.

    :param start: beginning of the time range, with a time zone; from 2026 on.
    :param end: end of the time range, with a time zone; at most 31 days later.
    """
    path = "/v1/billing/usage_summary"
    times = {"start_date": iso("start", start), "end_date": iso("end", end)}
    return get(path, "reading the usage summary", reads(UsageSummary), **times)


def list_model_api_costs(
    start: date,
    end: date,
    *,
    group_by: Collection[CostGroup] | None = None,
    models: Collection[str] | None = None,
    limit: int | None = None,
) -> PagedCall[ModelApiCosts]:
    """Return the costs of Model APIs by day.

    :param start: first day, from 2026-08-05 on.
    :param end: last day; at most 90 days later.
    :param group_by: ``api_key_prefix``, ``user``, ``model`` or ``service_tier``; by default one sum for each day.
    :param models: restricts the costs to these models.
    :param limit: days on a page, 1 to 31, by default 7.
    """
    for group in group_by or ():
        check_choice("group_by", group, get_args(CostGroup))
    if limit is not None:
        check_count("limit", limit, 1, 31)
    return paged(
        "/v1/billing/model_apis",
        "reading the costs of Model APIs",
        ModelApiCosts,
        start_date=_day("start", start),
        end_date=_day("end", end),
        group_by=_listed(group_by),
        models=_listed(models),
        limit=limit,
    )


def list_model_api_usage(
    start: datetime,
    end: datetime | None = None,
    *,
    bucket_width: BucketWidth | None = None,
    group_by: Collection[UsageGroup] | None = None,
    models: Collection[str] | None = None,
    limit: int | None = None,
) -> PagedCall[ModelApiUsage]:
    """Return tokens and requests of Model APIs by buckets of time.

    :param start: beginning of the time range, with a time zone.
    :param end: end of the time range, with a time zone; by default now.
    :param bucket_width: ``1m``, ``1h`` or ``1d``; by default Baseten's.
    :param group_by: ``api_key``, ``user``, ``model`` or ``team``; by default one sum for each bucket.
    :param models: restricts the usage to these models.
    :param limit: buckets on a page.
    """
    if bucket_width is not None:
        check_choice("bucket_width", bucket_width, get_args(BucketWidth))
    for group in group_by or ():
        check_choice("group_by", group, get_args(UsageGroup))
    return paged(
        "/v1/model_apis/usage",
        "reading the usage of Model APIs",
        ModelApiUsage,
        start_time=iso("start", start),
        end_time=iso("end", end),
        bucket_width=bucket_width,
        group_by=_listed(group_by),
        models=_listed(models),
        limit=limit,
    )


def list_tool_calls(start: date, end: date | None = None) -> Call[list[ToolCallUsage]]:
    """Return the calls of tools by day.

    :param start: first day.
    :param end: last day, by default today; at most 90 days later.
    """
    days = {"start_date": _day("start", start), "end_date": None if end is None else _day("end", end)}
    call = get("/v1/billing/tool_call_usage", "reading the usage of tools", reads(_ToolCalls), **days)
    return Call(call.request, lambda response: call.read(response).items or [])


def _day(name: str, value: date) -> str:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise BasetenInputError(f"{name}={shown(value)} is not a day: give a date.")
    return value.isoformat()


def _listed(values: Collection[str] | None) -> list[str] | None:
    return None if values is None else list(values)
