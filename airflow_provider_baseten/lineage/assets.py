"""Asset URIs of the scheme ``baseten``: models, chains and models of the Model APIs.

``baseten://model/ID`` and ``baseten://chain/ID`` stand for the environment ``production``. Another environment or a
deployment follows: ``baseten://model/ID/environment/NAME``, ``baseten://model/ID/deployment/ID``. A model of the Model
APIs is ``baseten://model-apis/SLUG``.
"""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.arguments import check_texts, given, shown
from airflow_provider_baseten.exceptions import BasetenInputError

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset
    from pydantic import JsonValue

SCHEME = "baseten"

_MODEL_APIS = "model-apis"
_FORMS = (
    "baseten://model/ID or baseten://chain/ID, then nothing (production), /environment/NAME or /deployment/ID; or "
    "baseten://model-apis/SLUG"
)
_SLUG = r"[\w.:+-]+(?:/[\w.:+-]+)*"
_MODEL_OF_APIS = rf"{SCHEME}://{_MODEL_APIS}/({_SLUG})"
_OWN_MODEL = rf"{SCHEME}://(model|chain)/([^/?#]+)(?:/environment/([^/?#]+)|/deployment/([^/?#]+))?"


def asset_uri(target: Target | ModelApis, model: str | None = None) -> str | None:
    """Return the URI of what a task calls; ``None`` for the Model APIs without the slug of a model.

    :param model: slug of the model, for the Model APIs. A model or chain of your own has one URI, whatever the name of
        the model is on its server.
    """
    if isinstance(target, ModelApis):
        return f"{SCHEME}://{_MODEL_APIS}/{model}" if model and re.fullmatch(_SLUG, model) else None
    path = f"model/{target.model_id}" if target.model_id is not None else f"chain/{target.chain_id}"
    if target.deployment_id is not None:
        path += f"/deployment/{target.deployment_id}"
    elif target.environment != "production":
        path += f"/environment/{target.environment}"
    return f"{SCHEME}://{path}"


def parse_asset_uri(uri: str) -> tuple[Target | ModelApis, str | None]:
    """Return the target that a URI names, and the slug of the model for the Model APIs.

    :raises BasetenInputError: the URI has another form.
    """
    if found := re.fullmatch(_OWN_MODEL, uri):
        kind, id_, environment, deployment_id = found.groups()
        model_id, chain_id = (id_, None) if kind == "model" else (None, id_)
        return Target(model_id=model_id, chain_id=chain_id, environment=environment, deployment_id=deployment_id), None
    if found := re.fullmatch(_MODEL_OF_APIS, uri):
        return ModelApis(), found[1]
    raise BasetenInputError(f"{shown(uri)} is not the URI of a model: it has the form {_FORMS}.")


def baseten_asset(
    *,
    model_id: str | None = None,
    chain_id: str | None = None,
    environment: str | None = None,
    deployment_id: str | None = None,
    model: str | None = None,
    name: str | None = None,
    extra: "dict[str, JsonValue] | None" = None,
) -> "Asset":
    """Return the asset of a model or a chain, for ``outlets``, ``inlets`` and ``schedule``.

    Exactly one of ``model_id``, ``chain_id`` and ``model`` is given.

    :param model_id: id of the model.
    :param chain_id: id of the chain.
    :param environment: name of the environment, by default ``production``.
    :param deployment_id: id of a deployment, instead of an environment.
    :param model: slug of a model of the Model APIs, such as ``deepseek-ai/DeepSeek-V3.1``.
    :param name: name of the asset, by default its URI.
    :param extra: further fields of the asset, by default none.
    :raises BasetenInputError: the arguments name no model or chain, or contradict each other.
    """
    from airflow.sdk import Asset

    check_texts(**given(model=model, name=name))
    if model is None:
        uri = asset_uri(
            Target(model_id=model_id, chain_id=chain_id, environment=environment, deployment_id=deployment_id)
        )
    elif model_id or chain_id or environment or deployment_id:
        raise BasetenInputError("model names a model of the Model APIs, which has no id, environment or deployment.")
    else:
        uri = asset_uri(ModelApis(), model)
    if uri is None:
        raise BasetenInputError(f"model={shown(model)} is not the slug of a model of the Model APIs.")
    return Asset(name=name or uri, uri=uri, extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the one form of a URI that stands for its model. Airflow calls this function for each asset.

    :raises BasetenInputError: the URI has another form than those of this module.
    """
    target, model = parse_asset_uri(uri.geturl())
    return urlsplit(asset_uri(target, model) or "")


def convert_to_openlineage(asset: "Asset", lineage_context: Any) -> "Dataset":
    """Return the OpenLineage dataset of an asset: namespace and name, joined by a slash, are the URI."""
    from openlineage.client.event_v2 import Dataset

    return Dataset(*dataset_names(asset.uri))


def dataset_names(uri: str) -> tuple[str, str]:
    """Return the namespace and the name of the OpenLineage dataset of an asset URI."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
