"""What can stand behind a model id, as an ASGI app."""

import inspect
import os
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.deployments import Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.truss import Truss
from airflow_provider_baseten.emulator.upstream import Upstream

_TRUSS_PREDICT_PATH = "/v1/models/model:predict"


class _Function:
    """A model object around a Python callable."""

    def __init__(self, predict: Any) -> None:
        self.predict = predict


def make_app(kind: Literal["model", "chain"], id_: str, model: Model) -> tuple[ASGIApp, str]:
    """Return the ASGI app for a backend and the path on it that predictions are sent to.

    :raises EmulatorError: the backend is nothing that can be served.
    """
    backend, predict_path = model.backend, model.predict_path
    if isinstance(backend, str | os.PathLike):
        truss = Truss(backend, secrets=model.secrets, environment=_one(model.environments))
        return truss.container(), predict_path or _TRUSS_PREDICT_PATH
    if isinstance(backend, Upstream):
        return backend, predict_path or _TRUSS_PREDICT_PATH
    if _is_asgi_app(backend):
        return backend, predict_path or "/predict"
    if callable(backend):
        return Container(lambda: _Function(backend), is_chain=kind == "chain"), _TRUSS_PREDICT_PATH
    raise EmulatorError(
        f"The backend of {kind} {id_} is a {type(backend).__name__}: give a callable, a Truss "
        "directory, an ASGI app or an Upstream."
    )


def _one(environments: tuple[str, ...]) -> str | None:
    """Return the environment that a model is told it runs in: none when it serves several."""
    return environments[0] if len(environments) == 1 else None


def _is_asgi_app(backend: Any) -> bool:
    if isinstance(backend, Starlette):
        return True
    return callable(backend) and list(inspect.signature(backend).parameters) == ["scope", "receive", "send"]
