"""Management API of a workspace: models, deployments and Model APIs."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from airflow_provider_baseten.api.deployments import (
    build_get_deployment,
    build_get_model,
    build_list_deployments,
    build_list_models,
)
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.prices import build_get_model_api
from airflow_provider_baseten.api.responses import Response, decode_list, decode_object


class _Sender(Protocol):
    def send(self, request: Request) -> Response: ...


class _AsyncSender(Protocol):
    @property
    def send(self) -> Callable[[Request], Awaitable[Response]]: ...


class Management:
    """Reads models, deployments and Model APIs with the management key.

    It is ``management`` of a :class:`~.client.Client`.

    :param client: sends the requests.

    https://docs.baseten.co/reference/management-api/overview
    """

    def __init__(self, client: _Sender) -> None:
        self._client = client

    def list_models(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return all models that the key may see.

        :param name: restricts the list to models with exactly this name; several teams may use the same name.
        :raises BasetenAuthError: the key may not use the management API.
        """
        return decode_list(self._client.send(build_list_models(name)), "models")

    def get_model(self, model_id: str) -> dict[str, Any]:
        """Return a model: its name, and the ids of its production and development deployment.

        :raises BasetenNotFoundError: no model has this id.
        """
        return decode_object(self._client.send(build_get_model(model_id)))

    def list_deployments(self, model_id: str | None = None, *, chain_id: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments of a model or a chain, with their ``status``.

        :param model_id: id of the model. Give either ``model_id`` or ``chain_id``.
        :param chain_id: id of the chain.
        :raises BasetenNotFoundError: no model or chain has this id.
        """
        return decode_list(self._client.send(build_list_deployments(model_id, chain_id=chain_id)), "deployments")

    def get_deployment(
        self, deployment_id: str, model_id: str | None = None, *, chain_id: str | None = None
    ) -> dict[str, Any]:
        """Return a deployment, with its ``status``.

        A deployment of a model also has ``active_replica_count`` and ``autoscaling_settings``.

        :param deployment_id: id of the deployment; for a model also ``production`` or ``development``.
        :param model_id: id of the model. Give either ``model_id`` or ``chain_id``.
        :param chain_id: id of the chain.
        :raises BasetenNotFoundError: no deployment has this id.
        """
        return decode_object(self._client.send(build_get_deployment(deployment_id, model_id, chain_id=chain_id)))

    def get_model_api(self, slug: str) -> dict[str, Any]:
        """Return one of the Model APIs, with its price and its rate limits in this workspace.

        :param slug: name of the model, for example ``deepseek-ai/DeepSeek-V4-Pro``.
        :raises BasetenNotFoundError: Model APIs have no such model.
        """
        return decode_object(self._client.send(build_get_model_api(slug)))


class AsyncManagement:
    """Reads models, deployments and Model APIs without blocking; the methods are those of :class:`Management`.

    :param client: sends the requests.
    """

    def __init__(self, client: _AsyncSender) -> None:
        self._client = client

    async def list_models(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return all models; see :meth:`Management.list_models`."""
        return decode_list(await self._client.send(build_list_models(name)), "models")

    async def get_model(self, model_id: str) -> dict[str, Any]:
        """Return a model; see :meth:`Management.get_model`."""
        return decode_object(await self._client.send(build_get_model(model_id)))

    async def list_deployments(
        self, model_id: str | None = None, *, chain_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Return deployments; see :meth:`Management.list_deployments`."""
        return decode_list(await self._client.send(build_list_deployments(model_id, chain_id=chain_id)), "deployments")

    async def get_deployment(
        self, deployment_id: str, model_id: str | None = None, *, chain_id: str | None = None
    ) -> dict[str, Any]:
        """Return a deployment; see :meth:`Management.get_deployment`."""
        return decode_object(await self._client.send(build_get_deployment(deployment_id, model_id, chain_id=chain_id)))

    async def get_model_api(self, slug: str) -> dict[str, Any]:
        """Return one of the Model APIs; see :meth:`Management.get_model_api`."""
        return decode_object(await self._client.send(build_get_model_api(slug)))
