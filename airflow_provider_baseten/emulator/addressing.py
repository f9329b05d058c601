"""Address of a request: the model or chain, its deployment and the action, read from host and path."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from airflow_provider_baseten.emulator.errors import GatewayError

AddressKind = Literal["model", "chain", "management", "model_apis", "files"]

_HOST = re.compile(r"(model|chain)-([a-z0-9]+)(?:-([a-z0-9-]+))?\.api\.baseten\.co", re.IGNORECASE)
_MANAGEMENT_HOST = "api.baseten.co"
_MODEL_APIS_HOST = "inference.baseten.co"
_PATH_PREFIX = re.compile(r"(model|chain)-([A-Za-z0-9]+)(?:-([a-z0-9-]+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """What a request addresses: the model or chain, the deployment and the action.

    :param kind: ``model``, ``chain``, ``management``, ``model_apis``, or ``files`` for the presigned URLs of files.
    :param id: id of the model or chain; empty for management and Model APIs.
    :param action: ``predict``, ``run_remote``, ``sync``, ``wake``...; for management the path without ``/v1/``; for
        Model APIs ``model_apis``; for files ``training_files``.
    :param environment: name of the environment; ``None`` if the address contains no environment.
    :param deployment_id: id of the deployment; ``None`` if the address contains no deployment. An address never
        contains both an environment and a deployment.
    :param regional: whether the host name, rather than the path, contains the environment.
    :param route: rest of the path, percent-encoded: for ``sync`` and Model APIs the path on the model's server, for
        ``async_request`` a slash and the id of the request.
    """

    kind: AddressKind
    id: str
    action: str
    environment: str | None = None
    deployment_id: str | None = None
    regional: bool = False
    route: str = ""


def parse_address(host: str, path: str) -> Address:
    """Return the address of a request.

    :param host: the ``Host`` header. If the header is not one of Baseten's host names, the model or chain is read from
        the path.
    :param path: percent-encoded path, without the query.
    :raises GatewayError: 404 for a path that Baseten does not have.
    """
    name = host.partition(":")[0].lower()
    if match := _HOST.fullmatch(name):
        return _parse_target(match, path)
    if name == _MODEL_APIS_HOST:
        return _parse_model_apis(path)
    if name != _MANAGEMENT_HOST:
        first, slash, rest = path.lstrip("/").partition("/")
        if first == "inference":
            return _parse_model_apis(slash + rest)
        if match := _PATH_PREFIX.fullmatch(first):
            return _parse_target(match, slash + rest)
    if path.startswith("/v1/"):
        return Address("management", "", unquote(path[len("/v1/") :]))
    if path.startswith("/training_files/"):
        return Address("files", "", "training_files", route=path.removeprefix("/training_files"))
    raise _unknown_path(path)


def _parse_model_apis(path: str) -> Address:
    if not path.startswith("/v1/"):
        raise _unknown_path(path)
    return Address("model_apis", "", "model_apis", route=path)


def _parse_target(match: re.Match[str], path: str) -> Address:
    kind: AddressKind = "model" if match[1].lower() == "model" else "chain"
    regional_environment = match[3]
    head, rest = _split_path(path)
    if regional_environment is not None:
        if head in {"production", "development", "environments", "deployment"}:
            raise GatewayError(404, f"/{head} is not available on a regional host.", "client_error")
        return _parse_action(kind, match[2], path, environment=regional_environment, regional=True)
    if head == "async_request":
        return Address(kind, match[2], head, route=rest)
    if head in {"production", "development"}:
        return _parse_action(kind, match[2], rest, environment=head)
    if head in {"environments", "deployment"}:
        name, rest = _split_path(rest)
        if name and head == "environments":
            return _parse_action(kind, match[2], rest, environment=unquote(name))
        if name:
            return _parse_action(kind, match[2], rest, deployment_id=unquote(name))
    raise _unknown_path(path)


def _parse_action(
    kind: AddressKind,
    id_: str,
    path: str,
    *,
    environment: str | None = None,
    deployment_id: str | None = None,
    regional: bool = False,
) -> Address:
    action, rest = _split_path(path)
    if not action or (rest and action not in {"sync", "async_request"}):
        raise _unknown_path(path)
    return Address(kind, id_, action, environment, deployment_id, regional, rest)


def _split_path(path: str) -> tuple[str, str]:
    """Split ``/a/b/c`` into ``a`` and ``/b/c``."""
    head, slash, rest = path.removeprefix("/").partition("/")
    return head, slash + rest


def _unknown_path(path: str) -> GatewayError:
    return GatewayError(404, f"No such path: {path[:200]}", "client_error")
