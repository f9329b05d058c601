"""The part of the hook that reads models and deployments."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api import deployments
from airflow_provider_baseten.api.deployments import Deployments
from airflow_provider_baseten.exceptions import BasetenResponseError

if TYPE_CHECKING:
    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.hooks.baseten import BasetenHook

_Build = Callable[[str], "Request"]


class ManagementCalls:
    """Reads models and deployments with the management key and the management URL of the connection.

    https://docs.baseten.co/reference/management-api/overview
    """

    def list_models(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return all models that the key may see.

        :param name: only models with exactly this name; teams may use the same one.
        :raises BasetenAuthError: the key may not use the management API.
        """
        return _items(self._manage(lambda url: deployments.list_models(url, name)), "models")

    async def alist_models(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return all models without blocking; see :meth:`list_models`."""
        return _items(await self._amanage(lambda url: deployments.list_models(url, name)), "models")

    def get_model(self, model_id: str) -> dict[str, Any]:
        """Return a model: its name, and the ids of its production and development deployment.

        :raises BasetenNotFoundError: there is none with this id.
        """
        return _object(self._manage(lambda url: deployments.get_model(url, model_id)))

    async def aget_model(self, model_id: str) -> dict[str, Any]:
        """Return a model without blocking; see :meth:`get_model`."""
        return _object(await self._amanage(lambda url: deployments.get_model(url, model_id)))

    def list_deployments(self, model_id: str | None = None, *, chain_id: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments of a model or a chain, with their ``status``.

        :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
        :param chain_id: id of the chain.
        :raises BasetenNotFoundError: there is no such model or chain.
        """
        return _items(self._manage(Deployments(model_id, chain_id).list), "deployments")

    async def alist_deployments(self, model_id: str | None = None, *, chain_id: str | None = None) -> list[Any]:
        """Return deployments without blocking; see :meth:`list_deployments`."""
        return _items(await self._amanage(Deployments(model_id, chain_id).list), "deployments")

    def get_deployment(
        self, deployment_id: str, model_id: str | None = None, *, chain_id: str | None = None
    ) -> dict[str, Any]:
        """Return a deployment: its ``status``, and for a model ``active_replica_count`` and ``autoscaling_settings``.

        :param deployment_id: its id; for a model also ``production`` or ``development``.
        :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
        :param chain_id: id of the chain.
        :raises BasetenNotFoundError: there is none.
        """
        deployments = Deployments(model_id, chain_id)
        return _object(self._manage(lambda url: deployments.get(url, deployment_id)))

    async def aget_deployment(
        self, deployment_id: str, model_id: str | None = None, *, chain_id: str | None = None
    ) -> dict[str, Any]:
        """Return a deployment without blocking; see :meth:`get_deployment`."""
        deployments = Deployments(model_id, chain_id)
        return _object(await self._amanage(lambda url: deployments.get(url, deployment_id)))

    def _manager(self) -> "BasetenHook":
        """Return a hook on the same connection that sends the management key."""
        raise NotImplementedError

    async def _amanager(self) -> "BasetenHook":
        raise NotImplementedError

    def _manage(self, build: _Build) -> "Response":
        manager = self._manager()
        return manager.send(build(manager.connection.management_url))

    async def _amanage(self, build: _Build) -> "Response":
        manager = await self._amanager()
        try:
            return await manager.asend(build(manager.connection.management_url))
        finally:
            await manager.aclose()


def _object(response: "Response") -> dict[str, Any]:
    output = response.output()
    if not isinstance(output, dict):
        raise _unusable(response)
    return output


def _items(response: "Response", name: str) -> list[dict[str, Any]]:
    items = _object(response).get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unusable(response)
    return items


def _unusable(response: "Response") -> BasetenResponseError:
    return BasetenResponseError(
        f"{response.request.subject} answered {response.status} with something else than the management API's JSON: "
        "check the management_url of the connection.",
        status=response.status,
        request_id=response.request_id,
    )
