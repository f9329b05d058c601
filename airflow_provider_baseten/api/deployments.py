"""Requests that read models and deployments in the management API, and the request that wakes a deployment."""

import re
from urllib.parse import urlencode

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.http import MAX_STATUS_BYTES, Request
from airflow_provider_baseten.api.target import Target, check_id, check_target, require_one_target
from airflow_provider_baseten.arguments import check_texts, shown
from airflow_provider_baseten.exceptions import BasetenInputError

# Label that stands for the host of the management API in a request.
MANAGEMENT_HOST = "management"

# Seconds. Calls of the management API are short, because they run no model.
_TIMEOUT = 60.0

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def build_management_get(path: str) -> Request:
    """Build a GET of the management API.

    :param path: path that begins with ``/v1``.
    """
    return Request(
        method="GET",
        host=MANAGEMENT_HOST,
        path=path,
        subject=f"GET {path} of the management API",
        idempotent=True,
        max_response_bytes=MAX_STATUS_BYTES,
        timeout=_TIMEOUT,
        advice=advice.MANAGEMENT,
    )


def build_list_models(name: str | None = None) -> Request:
    """Build the request for all models that the API key may see.

    :param name: restricts the list to models with exactly this name. There may be several, in different teams.
    """
    check_texts(name=name)
    return build_management_get("/v1/models" + (f"?{urlencode({'name': name})}" if name is not None else ""))


def build_get_model(model_id: str) -> Request:
    """Build the request for one model."""
    return build_management_get(_path_of(model_id, None))


def build_list_deployments(model_id: str | None = None, *, chain_id: str | None = None) -> Request:
    """Build the request for all deployments of a model or a chain.

    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
    :param chain_id: id of the chain.
    :raises BasetenInputError: both or neither is given, or the id is not valid.
    """
    return build_management_get(f"{_path_of(model_id, chain_id)}/deployments")


def build_get_deployment(deployment_id: str, model_id: str | None = None, *, chain_id: str | None = None) -> Request:
    """Build the request for one deployment of a model or a chain.

    :param deployment_id: id of the deployment; for a model also ``production`` or ``development``.
    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
    :param chain_id: id of the chain.
    :raises BasetenInputError: both or neither is given, or an id is not valid.
    """
    path = _path_of(model_id, chain_id)
    if not isinstance(deployment_id, str) or not _ID.fullmatch(deployment_id):
        raise BasetenInputError(
            f"deployment_id={shown(deployment_id)} is not valid: it takes letters, digits, '-' and '_'."
        )
    return build_management_get(f"{path}/deployments/{deployment_id}")


def build_wake(target: Target) -> Request:
    """Build the request that wakes a deployment that has scaled to zero.

    The request goes to the host of the model or chain instead of the management API. Every API key is allowed to do
    this.
    """
    check_target(target)
    return Request(
        method="POST",
        host=target.host,
        path=target.path("wake"),
        subject=f"wake of {target}",
        idempotent=True,
        max_response_bytes=MAX_STATUS_BYTES,
        advice=advice.DEPLOYMENT,
    )


def _path_of(model_id: str | None, chain_id: str | None) -> str:
    require_one_target(model_id, chain_id, None, None)
    if model_id is not None:
        check_id("model_id", model_id)
        return f"/v1/models/{model_id}"
    check_id("chain_id", chain_id)
    return f"/v1/chains/{chain_id}"
