"""Emulator of Baseten's inference API and management API on this machine."""

import asyncio
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from airflow_provider_baseten.emulator.auth import ApiKeys, KeyType
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.controls import Controls
from airflow_provider_baseten.emulator.deployer import Deployer
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.faults import Fault, Faults
from airflow_provider_baseten.emulator.gateway import Gateway
from airflow_provider_baseten.emulator.limits import Durations, Limits
from airflow_provider_baseten.emulator.management.workspace import Feature, Workspace
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.model_logs import COLLECTION
from airflow_provider_baseten.emulator.records import RecordedRequest, RequestRecords
from airflow_provider_baseten.emulator.server import Server, event_loop_factory, listen
from airflow_provider_baseten.emulator.training.service import TrainingService

_LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}


class Emulator(Controls):
    """Server that offers Baseten's inference API and management API on this machine, by default at 127.0.0.1.

    Use it as a context manager: the server listens when the block is entered and stops when the block is left.

    >>> with Emulator(models={"abc": lambda model_input: {"echo": model_input}}) as baseten:
    ...     print(f"{baseten.url}/model-abc/environments/production/predict")  # doctest: +SKIP

    :param models: model id -> a :class:`Model`, or only its backend. A backend is a Python callable, the path of a
        Truss directory, an ASGI app, or an :class:`Upstream`.
    :param chains: chain id -> a :class:`Model` or a backend.
    :param model_apis: slug of a model of the Model APIs (for example ``org/name``) -> a :class:`Model` or a backend.
        All these models are served at ``/inference/v1``.
    :param model_prices: slug of a model of the Model APIs -> its prices of a million tokens of input and of output in
        USD, for the management API. A model without prices has the price null there.
    :param api_key: API key with all permissions. If neither ``api_key`` nor ``api_keys`` is given, every request is
        accepted.
    :param api_keys: additional API keys: key -> its type, ``PERSONAL``, ``WORKSPACE_MANAGE_ALL`` or, for a key that may
        only call models, ``WORKSPACE_INVOKE``.
    :param host: address to listen on, by default ``127.0.0.1``, which only this machine can reach.
    :param port: port to listen on, by default a free one.
    :param limits: limits of body sizes, times and rates, by default Baseten's own.
    :param durations: durations of what the management API starts, by default 0 seconds.
    :param clock: source of time, by default the real time.
    :param secrets: name -> value of each secret of the workspace, which training jobs can use.
    :param training_capacity: kind of GPU -> number of GPUs for training jobs, by default no limit. Jobs for which there
        are not enough wait.
    :param disabled_features: beta features that the workspace does not have: ``autoscaling_schedules``,
        ``traffic_routing``.
    :param webhook_secrets: secrets that sign webhooks. During a rotation there are two: first the new secret, then the
        old one.
    :param keep_requests: maximum number of requests in :attr:`requests`. Older requests are dropped.
    """

    def __init__(
        self,
        models: Mapping[str, Any] | None = None,
        chains: Mapping[str, Any] | None = None,
        *,
        model_apis: Mapping[str, Any] | None = None,
        model_prices: Mapping[str, tuple[float, float]] | None = None,
        api_key: str | None = None,
        api_keys: Mapping[str, KeyType] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        durations: Durations | None = None,
        clock: Clock | None = None,
        secrets: Mapping[str, str] | None = None,
        training_capacity: Mapping[str, int] | None = None,
        disabled_features: Iterable[Feature] = (),
        webhook_secrets: Sequence[str] = (),
        keep_requests: int = 100_000,
    ) -> None:
        keys: dict[str, KeyType] = {**(api_keys or {})}
        if api_key is not None:
            keys[api_key] = "WORKSPACE_MANAGE_ALL"
        self._connections = ClientConnections()
        self._limits = limits or Limits()
        self._durations = durations or Durations()
        self._clock = clock or Clock()
        #: What Baseten would charge for: :class:`Meter`.
        self.meter = Meter(self._clock)
        self._deployer = Deployer(self._limits, self._durations, self._clock, self.meter)
        self.models = {id_: self._deployer.deploy("model", id_, model) for id_, model in (models or {}).items()}
        self.chains = {id_: self._deployer.deploy("chain", id_, chain) for id_, chain in (chains or {}).items()}
        self.model_apis = {
            slug: self._deployer.deploy_model_api(slug, model) for slug, model in (model_apis or {}).items()
        }
        training = TrainingService(self._clock, self._durations, self.meter, training_capacity or {})
        self._workspace = Workspace(
            models=self.models,
            chains=self.chains,
            model_apis=self.model_apis,
            model_prices=dict(model_prices or {}),
            limits=self._limits,
            durations=self._durations,
            clock=self._clock,
            meter=self.meter,
            training=training,
            secrets=dict(secrets or {}),
            disabled_features=frozenset(disabled_features),
            runs_training=bool(keys) or host in _LOCAL_HOSTS,
        )
        self._gateway = Gateway(
            workspace=self._workspace,
            keys=ApiKeys(keys),
            connections=self._connections,
            records=RequestRecords(keep_requests),
        )
        self.webhook_secrets = webhook_secrets
        self._host = host
        self._port = port
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash. The URLs of a model begin with ``{url}/model-{id}/``.

        :raises EmulatorError: the emulator is not running.
        """
        if self._thread is None:
            raise EmulatorError("The emulator is not running; start it first.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The most recent requests, oldest first. Their number is at most ``keep_requests``."""
        return self._gateway.records.all()

    @property
    def async_requests(self) -> dict[str, AsyncRequest]:
        """The most recent async requests (at most 100,000) by id, oldest first.

        A request remains here after its retention time has passed. Calls for its status then get HTTP status 404.
        """
        return self._gateway.async_inference.requests.all()

    @property
    def webhook_secrets(self) -> Sequence[str]:
        """Secrets that sign webhooks, the newest first. They can be replaced at any time."""
        return self._gateway.async_inference.webhooks.secrets

    @webhook_secrets.setter
    def webhook_secrets(self, secrets: Sequence[str]) -> None:
        self._gateway.async_inference.webhooks.secrets = tuple(secrets)

    @property
    def faults(self) -> Faults:
        """Injected faults that have not happened yet."""
        return self._gateway.faults

    def inject(self, *faults: Fault) -> None:
        """Inject faults; see :class:`Fault`."""
        self.faults.add(*faults)

    def start(self) -> None:
        """Start the server, and return when it listens and all models are loaded.

        Truss directories of deactivated deployments are not loaded.

        :raises EmulatorError: the emulator is already running, the port is in use, or a model could not be loaded.
        """
        if self._thread is not None:
            raise EmulatorError("The emulator is already running.")
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._server = Server(self._gateway)
        self._connections.server = self._server
        thread = threading.Thread(target=self._run, args=(self._server, listener), name="baseten-emulator", daemon=True)
        thread.start()
        self._server.start_completed.wait()
        if self._server.failure is not None:
            thread.join()
            listener.close()
            raise self._server.failure
        self._thread = thread

    def stop(self) -> None:
        """Stop the server.

        Requests in flight lose their connection. Async requests keep their current status.
        """
        if self._thread is not None and self._server is not None:
            if self._loop is not None:
                self._server.stop(self._loop)
            self._thread.join()
            self._thread = self._server = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _run(self, server: Server, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            try:
                runner.run(self._serve(server, listener))
            except Exception as exc:
                server.failure = exc
            finally:
                server.start_completed.set()

    async def _serve(self, server: Server, listener: socket.socket) -> None:
        hosted_apps = self._deployer.hosted_apps
        self._loop = asyncio.get_running_loop()
        COLLECTION.start()
        try:
            for hosted_app in hosted_apps:
                if hosted_app.is_wanted:
                    await hosted_app.start()
            await server.serve(sockets=[listener])
        finally:
            self._loop = None
            COLLECTION.stop()
            self._workspace.training.stop()
            await self._gateway.async_inference.stop()
            for hosted_app in hosted_apps:
                await hosted_app.stop()
