"""Calls, as metrics and spans name them: the kind of a request, what it calls, and how it ended."""

import re
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_baseten import exceptions
from airflow_provider_baseten.api.http import MANAGEMENT_HOST, Request
from airflow_provider_baseten.api.target import MODEL_APIS_HOST, ModelApis, Target

SUCCESS = "success"

_MODEL_APIS = "model_apis"

_TARGET = re.compile(r"(?:model|chain)-(?P<target>[A-Za-z0-9]+)(?:-(?P<environment>.+))?")
_VERSION = re.compile(
    r"/(?:(?P<development>development)|environments/(?P<environment>[^/]+)|deployment/(?P<id>[^/]+))/"
)


class CallKind(StrEnum):
    """Kind of a call."""

    PREDICT = "predict"
    ASYNC_PREDICT = "async_predict"
    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    SYNC_ROUTE = "sync_route"
    STATUS = "status"
    """Status call for an async request."""
    OTHER = "other"
    """A call that runs no model, for example a cancellation, or a call of the management API."""

    @property
    def runs_a_model(self) -> bool:
        """Whether a call of this kind runs a model, now or later."""
        return self not in {CallKind.STATUS, CallKind.OTHER}

    @property
    def is_openai(self) -> bool:
        """Whether requests and responses of this kind have OpenAI's form."""
        return self in _OPENAI_ROUTES.values()


_ACTIONS = {
    "predict": CallKind.PREDICT,
    "run_remote": CallKind.PREDICT,
    "async_predict": CallKind.ASYNC_PREDICT,
    "async_run_remote": CallKind.ASYNC_PREDICT,
}
_OPENAI_ROUTES = {
    "v1/chat/completions": CallKind.CHAT,
    "v1/completions": CallKind.TEXT_COMPLETION,
    "v1/embeddings": CallKind.EMBEDDINGS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What a request calls. The values are few and hold nothing of the input.

    :param kind: kind of the call.
    :param target: id of the model or chain, or ``model_apis``; empty for the management API.
    :param environment: environment that is called, ``None`` if a deployment is called or it is not known.
    :param deployment_id: id of the deployment that is called.
    """

    kind: CallKind
    target: str
    environment: str | None = None
    deployment_id: str | None = None

    @classmethod
    def of_request(cls, request: Request) -> "CallFacts":
        """Return the facts of a request."""
        path = request.path.partition("?")[0]
        if request.host == MODEL_APIS_HOST:
            return cls(kind=_kind_of_route(path), target=_MODEL_APIS)
        named = None if request.host == MANAGEMENT_HOST else _TARGET.fullmatch(request.host)
        if named is None:
            return cls(kind=CallKind.OTHER, target="")
        version = _VERSION.match(path)
        environment = named["environment"]
        if version is not None:
            environment = environment or version["environment"] or version["development"]
        return cls(
            kind=_kind_of_path(request.method, path),
            target=named["target"],
            environment=environment,
            deployment_id=None if version is None else version["id"],
        )

    @property
    def tags(self) -> dict[str, str]:
        """Tags of metrics."""
        return {"kind": str(self.kind), "target": self.target}


def _kind_of_path(method: str, path: str) -> CallKind:
    before, is_route, route = path.partition("/sync/")
    if is_route:
        return _kind_of_route(route)
    *_, folder, name = ("", *before.split("/"))
    if folder == "async_request":
        return CallKind.STATUS if method == "GET" else CallKind.OTHER
    return _ACTIONS.get(name, CallKind.OTHER)


def _kind_of_route(route: str) -> CallKind:
    return _OPENAI_ROUTES.get(route.strip("/"), CallKind.SYNC_ROUTE)


def target_name(target: Target | ModelApis) -> str:
    """Return the id of a model or chain, or ``model_apis``."""
    return _MODEL_APIS if isinstance(target, ModelApis) else target.model_id or target.chain_id or ""


def outcome_of(error: BaseException | type[BaseException] | None) -> str:
    """Return how a call ended: ``success``, or the kind of the error, for example ``rate_limit``.

    The kind is the name of a class in :mod:`airflow_provider_baseten.exceptions`, without ``Baseten`` and ``Error``. It
    is ``error`` for ``BasetenError`` itself, and ``interrupted`` for an exception from outside of the call, for example
    Airflow's timeout.
    """
    if error is None:
        return SUCCESS
    classes = error.mro() if isinstance(error, type) else type(error).mro()
    names = [cls.__name__ for cls in classes if vars(exceptions).get(cls.__name__) is cls]
    if not names:
        return "interrupted"
    name = names[0].removeprefix("Baseten").removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() or "error"
