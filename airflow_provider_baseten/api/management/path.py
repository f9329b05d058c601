"""Path of a resource in the management API, made from a target."""

import re
from typing import Any
from urllib.parse import quote

from airflow_provider_baseten.api.target import Target, check_id, check_target
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError

_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


def path_of(target: Target) -> str:
    """Return the path of an environment or a deployment of a model or a chain.

    ``development`` is no environment here but the development deployment of a model.

    :raises BasetenInputError: it is the ``development`` of a chain, which the API does not have.
    """
    check_target(target)
    if target.deployment_id is not None:
        return f"{root_of(target)}/deployments/{target.deployment_id}"
    if target.environment == "development":
        if target.chain_id is not None:
            raise BasetenInputError(f"{target}: the management API has no development deployment of a chain.")
        return f"{root_of(target)}/deployments/development"
    return f"{root_of(target)}/environments/{target.environment}"


def root_of(target: Target) -> str:
    """Return the path of the model or chain itself."""
    return f"/v1/models/{target.model_id}" if target.model_id is not None else f"/v1/chains/{target.chain_id}"


def model_target(target: Target, action: str) -> Target:
    """Check that a target is a model.

    :param action: what only models have, for the error message.
    :raises BasetenInputError: the target is a chain.
    """
    check_target(target)
    if target.model_id is None:
        raise BasetenInputError(f"{target}: Baseten has no {action} for chains, only for models.")
    return target


def model_path(model_id: str) -> str:
    """Return the path of a model.

    :raises BasetenInputError: the id is not valid.
    """
    check_id("model_id", model_id)
    return f"/v1/models/{model_id}"


def chain_path(chain_id: str) -> str:
    """Return the path of a chain.

    :raises BasetenInputError: the id is not valid.
    """
    check_id("chain_id", chain_id)
    return f"/v1/chains/{chain_id}"


def segment(name: str, value: Any) -> str:
    """Return an id or a name as a part of a path.

    :param name: name of the argument.
    :raises BasetenInputError: the value is not valid.
    """
    if not isinstance(value, str) or not re.fullmatch(_ID, value):
        raise BasetenInputError(f"{name}={shown(value)} is not valid: it takes letters, digits, '-' and '_'.")
    return quote(value, safe="")
