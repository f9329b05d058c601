"""Deployer: makes models, chains and their deployments, and hosts their backends."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_baseten.emulator.backends import make_app
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint, EndpointKind, MakeDeployment, Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.hosting import HostedApp
from airflow_provider_baseten.emulator.instance_types import find_instance_type
from airflow_provider_baseten.emulator.limits import Durations, Limits
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.replicas import Replicas

_ENDPOINT_ID = re.compile(r"[A-Za-z0-9]{1,63}")


class Deployer:
    """Deployer of an emulator.

    :param limits: limits of the emulator.
    :param durations: durations of the emulator.
    :param clock: source of time.
    :param meter: meter of replicas and requests.
    """

    def __init__(self, limits: Limits, durations: Durations, clock: Clock, meter: Meter) -> None:
        #: Apps of the backends, which must be started before requests come.
        self.hosted_apps: list[HostedApp] = []
        self._limits = limits
        self._durations = durations
        self._clock = clock
        self._meter = meter

    def deploy(self, kind: EndpointKind, id_: str, model: Any) -> Endpoint:
        """Deploy a model or chain.

        :param kind: ``model`` or ``chain``.
        :param id_: id of the model or chain.
        :param model: a :class:`Model` or a backend.
        :raises EmulatorError: an id or a backend that is not valid.
        """
        if not _ENDPOINT_ID.fullmatch(id_):
            raise EmulatorError(f"{kind} id {id_[:80]!r} is not valid: ids are letters and digits.")
        model = _as_model(model)
        make_deployment = self._host_model(kind, id_, model)
        return Endpoint.deploy(kind, id_, model, make_deployment, created_at=self._clock.now())

    def deploy_model_api(self, slug: str, model: Any) -> Deployment:
        """Deploy a model of the Model APIs.

        :param slug: slug of the model.
        :param model: a :class:`Model` or a backend.
        """
        return self._host_model("model", slug, _as_model(model))(f"{slug}d1")

    def _host_model(self, kind: EndpointKind, id_: str, model: Model) -> MakeDeployment:
        """Set up a model and its candidates.

        :returns: a function that makes deployments.
        """
        try:
            instance_type = find_instance_type(model.instance_type)
        except KeyError:
            raise EmulatorError(f"There is no instance type {model.instance_type}.") from None
        common = self._prepare_backend(kind, id_, model)
        # Deployment -> its backend.
        backends = {
            deployment_id: self._prepare_backend(kind, id_, replace(model, backend=backend))
            for deployment_id, backend in model.candidates.items()
            if backend is not None
        }

        def make_deployment(deployment_id: str, source: str | None = None) -> Deployment:
            host_backend = backends[deployment_id] = backends.get(source or deployment_id, common)
            hosted_app, predict_path = host_backend()
            replicas = Replicas(model.scaling, self._limits.parking_seconds, self._clock)
            return Deployment(
                deployment_id,
                id_,
                hosted_app,
                predict_path,
                replicas,
                clock=self._clock,
                durations=self._durations,
                meter=self._meter,
                instance_type=instance_type,
            )

        return make_deployment

    def _prepare_backend(self, kind: EndpointKind, id_: str, model: Model) -> Callable[[], tuple[HostedApp, str]]:
        """Return a function that hosts a backend for a deployment.

        Each deployment of a Truss directory has its own app, as it has its own container on Baseten. The other backends
        are objects or servers of the user, which run already and are shared.
        """
        if isinstance(model.backend, str | os.PathLike):
            return partial(self._host_backend, kind, id_, model, is_own=True)
        shared = self._host_backend(kind, id_, model)
        return lambda: shared

    def _host_backend(
        self, kind: EndpointKind, id_: str, model: Model, *, is_own: bool = False
    ) -> tuple[HostedApp, str]:
        app, predict_path = make_app(kind, id_, model)
        hosted_app = HostedApp(app, f"{kind.capitalize()} {id_}", is_own=is_own)
        self.hosted_apps.append(hosted_app)
        return hosted_app, predict_path


def _as_model(model: Any) -> Model:
    return model if isinstance(model, Model) else Model(model)
