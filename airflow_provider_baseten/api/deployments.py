"""The management API: requests that read models and deployments, and the one that wakes a deployment."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.http import MAX_STATUS_BYTES, Request
from airflow_provider_baseten.api.target import Target, check_id, require_one_target
from airflow_provider_baseten.arguments import check_texts, shown
from airflow_provider_baseten.exceptions import BasetenInputError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def build_management_get(base_url: str, path: str) -> Request:
    """Build a GET of the management API.

    :param base_url: for example ``https://api.baseten.co``.
    :param path: path from ``/v1`` on.
    """
    return Request(
        method="GET",
        url=f"{base_url}{path}",
        subject=f"GET {path} of the management API",
        idempotent=True,
        max_answer_bytes=MAX_STATUS_BYTES,
        advice=advice.MANAGEMENT,
    )


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments of one model or chain.

    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
    :param chain_id: id of the chain.
    :raises BasetenInputError: both or neither is given, or the id can't be one.
    """

    model_id: str | None = None
    chain_id: str | None = None

    def __post_init__(self) -> None:
        require_one_target(self.model_id, self.chain_id, None, None)

    def list(self, base_url: str) -> Request:
        """Build the request for all of them.

        :param base_url: of the management API, for example ``https://api.baseten.co``.
        """
        return build_management_get(base_url, f"{self._path}/deployments")

    def get(self, base_url: str, deployment_id: str) -> Request:
        """Build the request for one of them.

        :param deployment_id: its id; for a model also ``production`` or ``development``.
        """
        if not isinstance(deployment_id, str) or not _ID.fullmatch(deployment_id):
            raise BasetenInputError(
                f"deployment_id={shown(deployment_id)} is not valid: it takes letters, digits, '-' and '_'."
            )
        return build_management_get(base_url, f"{self._path}/deployments/{deployment_id}")

    @property
    def _path(self) -> str:
        if self.model_id is not None:
            return f"/v1/models/{_model_or_chain('model_id', self.model_id)}"
        return f"/v1/chains/{_model_or_chain('chain_id', self.chain_id)}"


def list_models(base_url: str, name: str | None = None) -> Request:
    """Build the request for all models that the key may see.

    :param name: only models with exactly this name; teams may use the same one.
    """
    check_texts(name=name)
    return build_management_get(base_url, "/v1/models" + (f"?{urlencode({'name': name})}" if name is not None else ""))


def get_model(base_url: str, model_id: str) -> Request:
    """Build the request for one model."""
    return build_management_get(base_url, f"/v1/models/{_model_or_chain('model_id', model_id)}")


def build_wake(target: Target) -> Request:
    """Build the request that wakes a deployment that has scaled to zero. The model's own host takes it, and any key."""
    return Request(
        method="POST",
        url=target.url("wake"),
        subject=f"wake of {target}",
        idempotent=True,
        max_answer_bytes=MAX_STATUS_BYTES,
        advice=advice.DEPLOYMENT,
    )


def _model_or_chain(name: str, id_: str | None) -> str:
    check_id(name, id_)
    return str(id_)
