"""Targets of calls: an environment or a deployment of a model or a chain, or the Model APIs."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, TypeGuard
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_baseten.arguments import check_at_most_one, check_exactly_one, check_flags, shown
from airflow_provider_baseten.exceptions import BasetenInputError

Action = Literal["predict", "async_predict", "async_queue_status", "wake"]

# The ``host`` of a request is a label, such as ``model-abc`` for a model. This is the label of the Model APIs.
MODEL_APIS_HOST = "inference"

_CHAIN_ACTIONS = {"predict": "run_remote", "async_predict": "async_run_remote"}
# The patterns are strings, and are compiled only when they are used. This keeps the import of this module fast.

# An id becomes part of a host name. A hyphen in an id is refused, because in the host name a hyphen separates the id
# from the name of a regional environment.
_MODEL_OR_CHAIN_ID = r"[A-Za-z0-9]{1,63}"
# Matches what users paste where only an id is expected: the host name of a model or chain, or the URL of its page at
# Baseten.
_PASTED_ID = r"(?:https?://)?(?:app\.baseten\.co/)?(model|chain)(?:s/|-)([A-Za-z0-9]{1,63})(?:[./-].*)?"
_PATH_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_MAX_HOST_CHARACTERS = 254
_REQUEST_ID = r"[A-Za-z0-9_-]{1,128}"
_REGIONAL_ENVIRONMENT = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model or a chain, and the environment or deployment to call.

    :param model_id: id of the model; exactly one of ``model_id`` and ``chain_id`` is given.
    :param chain_id: id of the chain.
    :param environment: name of the environment; ``None`` or an empty string stands for ``production``. ``development``
        is the development deployment.
    :param deployment_id: id of one deployment, given instead of an environment.
    :param regional: whether the host name contains the environment. If so, requests stay in the environment's region.
    :raises BasetenInputError: an argument is missing, contradicts another one or is not a valid name.

    https://docs.baseten.co/reference/inference-api/overview
    """

    model_id: str | None = None
    chain_id: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    regional: bool = False

    def __post_init__(self) -> None:
        require_one_target(self.model_id, self.chain_id, self.environment, self.deployment_id)
        check_flags(regional=self.regional)
        if self.model_id is not None:
            check_id("model_id", self.model_id)
        else:
            check_id("chain_id", self.chain_id)
        if self.deployment_id is not None:
            _check("deployment_id", self.deployment_id, _PATH_NAME, "letters, digits, '-' and '_'")
        else:
            if isinstance(self.environment, str | None):
                object.__setattr__(self, "environment", self.environment or "production")
            _check("environment", self.environment, _PATH_NAME, "letters, digits, '-' and '_'")
        if self.regional:
            self._check_regional()

    def _check_regional(self) -> None:
        if self.deployment_id is not None:
            raise BasetenInputError("regional=True needs an environment, deployment_id can't be addressed by region.")
        if self.environment == "development":
            raise BasetenInputError("environment='development' can't be regional: Baseten reserves that name.")
        _check(
            "environment",
            self.environment,
            _REGIONAL_ENVIRONMENT,
            "lower-case letters, digits and inner hyphens, at most 40 of them, for a regional environment",
        )

    def __str__(self) -> str:
        name = f"model {self.model_id}" if self.model_id is not None else f"chain {self.chain_id}"
        version = f"deployment {self.deployment_id}" if self.deployment_id else f"environment {self.environment}"
        return f"{name} ({version})"

    @property
    def host(self) -> str:
        """First label of the host name, for example ``model-abc``."""
        name = f"model-{self.model_id}" if self.model_id is not None else f"chain-{self.chain_id}"
        return f"{name}-{self.environment}" if self.regional else name

    def path(self, action: Action) -> str:
        """Return the path of an action; for a chain the action ``predict`` is called ``run_remote``.

        >>> Target(model_id="abc").path("predict")
        '/environments/production/predict'
        """
        name = _CHAIN_ACTIONS.get(action, action) if self.chain_id is not None else action
        return f"{self._version}/{name}"

    def sync_path(self, route: str) -> str:
        """Return the path at Baseten that leads to ``/{route}`` of the custom server.

        :param route: path on the server, with or without a leading slash, without query.
        :raises BasetenInputError: the route is not a plain path: it has a query, a fragment or a part such as ``..``.
        """
        return f"{self._version}/sync/{_quoted_route(route)}"

    def async_request_path(self, request_id: str) -> str:
        """Return the path of one async request; GET reads its status there, and DELETE cancels it.

        :raises BasetenInputError: the id is not valid.
        """
        check_request_id(request_id)
        return f"/async_request/{request_id}"

    @property
    def _version(self) -> str:
        if self.regional:
            return ""
        if self.deployment_id is not None:
            return f"/deployment/{self.deployment_id}"
        return "/development" if self.environment == "development" else f"/environments/{self.environment}"


@dataclass(frozen=True, slots=True)
class ModelApis:
    """Baseten's Model APIs: one OpenAI-compatible server for many models. ``model`` in a request selects the model.

    https://docs.baseten.co/inference/model-apis/overview
    """

    def __str__(self) -> str:
        return "Model APIs"

    @property
    def host(self) -> str:
        """First label of the host name."""
        return MODEL_APIS_HOST

    def sync_path(self, route: str) -> str:
        """Return the path of a route.

        :param route: path on the server, with or without a leading slash, without query.
        :raises BasetenInputError: the route is not a plain path: it has a query, a fragment or a part such as ``..``.
        """
        return f"/{_quoted_route(route)}"


def require_model_apis_only(**arguments: object) -> None:
    """Check that a call with ``model_apis=True`` has no argument that names a model, a chain or a deployment.

    :param arguments: arguments such as ``model_id`` and ``environment``.
    :raises BasetenInputError: one of them is given.
    """
    if any(value not in (None, False) for value in arguments.values()):
        raise BasetenInputError(
            "Model APIs have no model_id, chain_id, environment, deployment_id or region: their model is named by its "
            "slug."
        )


def check_target(target: object) -> None:
    """Check that a target is a model or a chain.

    :raises BasetenInputError: the target is the Model APIs, which only have OpenAI's routes, or is not a target at all.
    """
    if isinstance(target, ModelApis):
        raise BasetenInputError("Model APIs only have OpenAI's routes: give the Target of a model or a chain.")
    if not isinstance(target, Target):
        raise BasetenInputError(f"target={shown(target)} is not a Target: give Target(model_id=...), for example.")


def check_route_target(target: object) -> None:
    """Check that a target has routes: it is a model, a chain or the Model APIs.

    :raises BasetenInputError: the target is something else.
    """
    if not isinstance(target, ModelApis):
        check_target(target)


def openai_target(target: Target | None, model_apis: bool) -> Target | ModelApis:
    """Return the target of an OpenAI client.

    :param target: a model or a chain; exactly one of ``target`` and ``model_apis`` is given.
    :param model_apis: whether the client is for the Model APIs.
    :raises BasetenInputError: both or neither are given.
    """
    check_flags(model_apis=model_apis)
    check_exactly_one(**{"target": target, "model_apis=True": model_apis or None})
    return target or ModelApis()


def require_one_target(model_id: object, chain_id: object, environment: object, deployment_id: object) -> None:
    """Check that the arguments name one target; their values may be templates that are not rendered yet.

    :raises BasetenInputError: ``model_id`` and ``chain_id`` are both given or both missing, or ``environment`` and
        ``deployment_id`` are both given.
    """
    check_exactly_one(model_id=model_id, chain_id=chain_id)
    check_at_most_one(environment=environment, deployment_id=deployment_id)


def check_id(name: str, value: str | None) -> None:
    """Check the id of a model or a chain.

    :param name: ``model_id`` or ``chain_id``.
    :raises BasetenInputError: the id is not valid. If it is a pasted host name or URL, the message says which part is
        the id.
    """
    if pasted := re.fullmatch(_PASTED_ID, value) if isinstance(value, str) else None:
        kind, found = pasted.groups()
        raise BasetenInputError(f"{name}={_shown(value)} is not valid: give the id alone, {kind}_id='{found}'.")
    _check(name, value, _MODEL_OR_CHAIN_ID, "letters and digits")


def is_request_id(value: object) -> TypeGuard[str]:
    """Return whether a value can be the id of an async request."""
    return isinstance(value, str) and re.fullmatch(_REQUEST_ID, value) is not None


def check_request_id(request_id: str, *, name: str = "request_id") -> None:
    """Check the id of an async request.

    :param name: name of the argument.
    :raises BasetenInputError: the id is not valid.
    """
    _check(name, request_id, _REQUEST_ID, "letters, digits, '-' and '_'")


def check_base_url(name: str, url: str) -> str:
    """Check a URL, and return it without a trailing slash.

    :param name: name of the argument.
    :raises BasetenInputError: the URL is not an absolute http(s) URL, or has credentials, a query or a fragment.
    """
    if not isinstance(url, str):
        raise BasetenInputError(f"{name}={shown(url)} is not a URL: give it as a text.")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and _is_host(parts) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url or "\\" in url:
        raise BasetenInputError(
            f"{name} {_shown(url)} is not a URL: give the scheme too, for example 'https://baseten.example.com', and "
            "an international name in its form with 'xn--'."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BasetenInputError(
            f"{name} can't hold credentials, a query or a fragment; give 'scheme://host[:port][/path]'."
        )
    return url.rstrip("/")


def _is_host(parts: SplitResult) -> bool:
    """Return whether a URL has a host that all HTTP libraries read alike. They differ on names that are not ASCII."""
    host = parts.hostname or ""
    if "[" not in parts.netloc:
        labels = host.removesuffix(".").split(".")
        return len(host) <= _MAX_HOST_CHARACTERS and all(re.fullmatch(_LABEL, label) for label in labels)
    try:
        # Some libraries don't support zones of IPv6 addresses.
        return ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _check(name: str, value: str | None, pattern: str, allowed: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BasetenInputError(f"{name}={_shown(value)} is not valid: it takes {allowed}.")


def _quoted_route(route: str) -> str:
    path = route.removeprefix("/") if isinstance(route, str) else ""
    if not path or not path.isprintable() or any(c in path for c in "?#\\ "):
        raise BasetenInputError(
            f"route={_shown(route)} is not a path such as 'v1/embeddings'; a query goes into query_params."
        )
    # The path is checked in its decoded form, because a proxy may decode it and take %2e%2e for '..'.
    segments = unquote(path).replace("\\", "/").split("/")
    if any(segment in {"", ".", ".."} for segment in segments[:-1]) or segments[-1] in {".", ".."}:
        raise BasetenInputError(
            f"route={_shown(route)} has an empty, '.' or '..' part; give the plain path on the server."
        )
    return quote(path, safe="/%:@!$&'()*+,;=~")


def _shown(value: object) -> str:
    if isinstance(value, str) and "@" in value:  # A value with an '@' may be a URL that contains a password.
        return "(not shown, it holds an '@')"
    return shown(value)
