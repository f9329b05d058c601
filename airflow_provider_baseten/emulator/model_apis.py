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
