"""Model APIs of a workspace, with their prices and rate limits."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from urllib.parse import quote

from pydantic import Field

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.management.call import Call, PagedCall, get, paged, reads
from airflow_provider_baseten.api.management.resource import Resource, Time
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError


class RateLimit(Resource):
    """Limit of requests or tokens in a unit of time."""

    type: str
    unit: str
    threshold: int


class ModelApiStatus(Resource):
    """Use of a Model API by the workspace."""

    added_at: Time
    last_used_at: Time | None = None


class ModelApi(Resource):
    """Model of the Model APIs; prices are USD. ``org_details`` is ``None`` if the workspace has not added it."""

    name: str
    display_name: str = ""
    description: str = ""
    model_family: str | None = None
    release_date: date | None = None
    invoke_url: str = ""
    context_length: int | None = None
    cost_per_million_input_tokens: Decimal | None = None
    cost_per_million_output_tokens: Decimal | None = None
    rate_limits: list[RateLimit] = Field(default_factory=list)
    org_details: ModelApiStatus | None = None


def list_model_apis(*, added_only: bool | None = None) -> PagedCall[ModelApi]:
    """Return all models of the Model APIs.

    :param added_only: whether to return only those that the workspace has added.
    """
    return paged("/v1/model_apis", "listing the Model APIs", ModelApi, added_only=added_only)


def get_model_api(slug: str) -> Call[ModelApi]:
    """Return a model of the Model APIs, with its price and its rate limits in this workspace.

    :param slug: name of the model, for example ``deepseek-ai/DeepSeek-V4-Pro``.
    :raises BasetenInputError: the slug is not a name.
    :raises BasetenNotFoundError: Model APIs have no such model.
    """
    if not isinstance(slug, str) or not slug.strip() or not slug.isprintable() or slug in {".", ".."}:
        raise BasetenInputError(f"The slug {shown(slug)} of a Model API is not valid.")
    call = get(f"/v1/model_apis/{quote(slug, safe='')}", f"reading Model API {slug}", reads(ModelApi))
    return replace(call, request=replace(call.request, advice=advice.MODEL_API_PRICE))
