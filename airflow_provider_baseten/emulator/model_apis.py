"""Model APIs: one OpenAI-compatible base URL for several models. ``model`` in the request body names the model."""

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.errors import bad_request, not_found

LIST_ROUTE = "/v1/models"


def make_model_list(models: Mapping[str, Deployment]) -> dict[str, Any]:
    """Return the JSON content of the response to ``GET /v1/models``.

    :param models: models by slug.
    """
    data = [{"id": slug, "object": "model", "created": 0, "owned_by": "baseten"} for slug in models]
    return {"object": "list", "data": data}


def describe_model(slug: str, prices: tuple[float, float] | None) -> dict[str, Any]:
    """Return the object of the management API for one model of the Model APIs.

    :param slug: slug of the model.
    :param prices: prices of a million tokens of input and of output in USD; ``None`` if Baseten knows no price.
    """
    input_price, output_price = (
        (f"{price:.10f}".rstrip("0").rstrip(".") for price in prices) if prices else (None, None)
    )
    return {
        "name": slug,
        "display_name": slug.rpartition("/")[2],
        "description": "A model of the emulator.",
        "model_family": None,
        "release_date": "2026-01-01",
        "invoke_url": "https://inference.baseten.co",
        "context_length": 131072,
        "cost_per_million_input_tokens": input_price,
        "cost_per_million_output_tokens": output_price,
        "rate_limits": [],
        "org_details": {"added_at": "2026-01-01T00:00:00Z", "last_used_at": None},
    }


def select_model(models: Mapping[str, Deployment], body: bytes) -> Deployment:
    """Return the deployment of the model that a request body names in its field ``model``.

    :param models: models by slug.
    :param body: request body.
    :raises GatewayError: 400 for a body without ``model``, 404 for an unknown slug.
    """
    try:
        content = json.loads(body)
    except ValueError:
        raise bad_request("The request body is not valid JSON.") from None
    slug = content.get("model") if isinstance(content, dict) else None
    if not isinstance(slug, str):
        raise bad_request("The request body has no `model`.")
    if slug not in models:
        raise not_found(f"Model {slug[:200]} does not exist or is not enabled in this workspace.")
    return models[slug]
