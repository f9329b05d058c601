"""Backends of models and chains: each kind of backend, such as a callable or a Truss directory, becomes an ASGI app."""

import inspect
import os
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.endpoints import EndpointKind, Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.truss import Truss
from airflow_provider_baseten.emulator.upstream import Upstream

_TRUSS_PREDICT_PATH = "/v1/models/model:predict"


class _CallableModel:
    """Model object whose ``predict`` is a Python callable."""

    def __init__(self, predict: Any) -> None:
        self.predict = predict


def make_app(kind: EndpointKind, id_: str, model: Model) -> tuple[ASGIApp, str]:
    """Return the ASGI app for the backend of a model or chain, and the path on which the app makes predictions.

    :param kind: ``model`` or ``chain``.
    :param id_: id of the model or chain.
    :param model: the model or chain, whose ``backend`` becomes the ASGI app.
    :raises EmulatorError: the backend has a type that is not supported.
    """
    backend, predict_path = model.backend, model.predict_path
    if isinstance(backend, str | os.PathLike):
        truss = Truss(backend, secrets=model.secrets, environment=_single_environment(model.environments))
        return truss.container(), predict_path or _TRUSS_PREDICT_PATH
    if isinstance(backend, Upstream):
        return backend, predict_path or _TRUSS_PREDICT_PATH
    if _is_asgi_app(backend):
        return backend, predict_path or "/predict"
    if callable(backend):
        return Container(lambda: _CallableModel(backend), is_chain=kind == "chain"), _TRUSS_PREDICT_PATH
    raise EmulatorError(
        f"The backend of {kind} {id_} is of type {type(backend).__name__}; it must be a callable, a Truss directory, "
        "an ASGI app or an Upstream."
    )


def _single_environment(environments: tuple[str, ...]) -> str | None:
    """Return the name of the model's environment; ``None`` if the model does not have exactly one environment."""
    return environments[0] if len(environments) == 1 else None


def _is_asgi_app(backend: Any) -> bool:
    if isinstance(backend, Starlette):
        return True
    return callable(backend) and list(inspect.signature(backend).parameters) == ["scope", "receive", "send"]
