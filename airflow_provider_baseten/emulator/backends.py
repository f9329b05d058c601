"""What can stand behind a model id, as an ASGI app."""

import inspect
import os
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.types import ASGIApp

from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.deployments import Model
from airflow_provider_baseten.emulator.errors import EmulatorError

_TRUSS_PREDICT_PATH = "/v1/models/model:predict"


class _Function:
    """A model object around a Python callable."""

    def __init__(self, predict: Any) -> None:
        self.predict = predict


def make_app(kind: Literal["model", "chain"], id_: str, model: Model) -> tuple[ASGIApp, str]:
    """Return the ASGI app for a backend and the path on it that predictions are sent to.

    :raises EmulatorError: the backend is nothing that can be served.
    """
    backend = model.backend
    if _is_asgi_app(backend):
        return backend, model.predict_path or "/predict"
    if callable(backend):
        return Container(lambda: _Function(backend)), _TRUSS_PREDICT_PATH
    raise EmulatorError(
        f"The backend of {kind} {id_} is a {type(backend).__name__}: give a callable, a Truss directory, an ASGI app or an Upstream."
    )


def _is_asgi_app(backend: Any) -> bool:
    if isinstance(backend, Starlette):
        return True
    return callable(backend) and list(inspect.signature(backend).parameters) == ["scope", "receive", "send"]
