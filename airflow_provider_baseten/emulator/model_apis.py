"""Model APIs: one OpenAI-compatible address, where the ``model`` of a request selects who answers."""

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.errors import bad_request, not_found

LIST_ROUTE = "/v1/models"


def listing(models: Mapping[str, Deployment]) -> dict[str, Any]:
    """Return the models as ``GET /v1/models`` shows them.

    :param models: models by slug.
    """
    data = [{"id": slug, "object": "model", "created": 0, "owned_by": "baseten"} for slug in models]
    return {"object": "list", "data": data}


def select(models: Mapping[str, Deployment], body: bytes) -> Deployment:
    """Return the model that a request names.

    :param models: models by slug.
    :param body: of the request.
    :raises GatewayError: 400 for a body without ``model``, 404 for a slug that is not enabled.
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
