"""Emulator of Baseten's inference API on this machine."""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from airflow_provider_baseten.emulator.auth import ApiKeys, KeyType
from airflow_provider_baseten.emulator.backends import make_app
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import FAILED_STATUSES, Deployment
from airflow_provider_baseten.emulator.endpoints import Endpoint, EndpointKind, Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.faults import Fault, Faults
from airflow_provider_baseten.emulator.gateway import Gateway
from airflow_provider_baseten.emulator.hosting import HostedApp
from airflow_provider_baseten.emulator.limits import Durations, Limits
from airflow_provider_baseten.emulator.management.workspace import Workspace
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.records import RecordedRequest, RequestRecords
from airflow_provider_baseten.emulator.replicas import Replicas
from airflow_provider_baseten.emulator.server import Server, event_loop_factory, listen

_ENDPOINT_ID = re.compile(r"[A-Za-z0-9]{1,63}")


class Emulator:
    """Server that offers Baseten's inference API on this machine, by default at 127.0.0.1.

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
        self._hosted_apps: list[HostedApp] = []
        self.models = {id_: self._deploy("model", id_, model) for id_, model in (models or {}).items()}
        self.chains = {id_: self._deploy("chain", id_, chain) for id_, chain in (chains or {}).items()}
        self.model_apis = {
            slug: self._host_model("model", slug, _as_model(model))(f"{slug}d1")
            for slug, model in (model_apis or {}).items()
        }
        self._workspace = Workspace(
            models=self.models,
            chains=self.chains,
            model_apis=self.model_apis,
            model_prices=dict(model_prices or {}),
            limits=self._limits,
            durations=self._durations,
            clock=self._clock,
            meter=self.meter,
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
        self._loop: asyncio.AbstractEventLoop | None = None

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

    def hold(self, id_: str | None = None) -> None:
        """Pause the async queue: queued and new requests do not start. Running requests continue.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._run_in_loop(lambda: self._gateway.async_inference.hold(id_))

    def release(self, id_: str | None = None) -> None:
        """Resume the async queue after :meth:`hold`.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._run_in_loop(lambda: self._gateway.async_inference.release(id_))

    def deactivate(self, id_: str, deployment_id: str | None = None) -> None:
        """Deactivate deployments: new and waiting requests get status 400.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(deployment.deactivate)

    def activate(self, id_: str, deployment_id: str | None = None) -> None:
        """Activate deployments again.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(deployment.activate)

    def set_status(self, id_: str, status: str, deployment_id: str | None = None) -> None:
        """Let deployments fail, become unhealthy or recover, at once.

        :param id_: id of the model or chain.
        :param status: ``BUILD_FAILED``, ``BUILD_STOPPED``, ``DEPLOY_FAILED`` or ``FAILED``, ``UNHEALTHY``, or
            ``ACTIVE`` for the recovery.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        if status not in {*FAILED_STATUSES, "UNHEALTHY", "ACTIVE"}:
            raise EmulatorError(f"A deployment can't be set to the status {status}.")
        for deployment in self._deployments(id_, deployment_id):
            self._run_in_loop(partial(deployment.set_status, status))

    def fail_next_start(self, id_: str, status: str = "DEPLOY_FAILED", deployment_id: str | None = None) -> None:
        """Let the next start of deployments fail: an activation, a retry, or a redeployment by a promotion.

        Several calls let several starts fail, one after the other.

        :param id_: id of the model or chain.
        :param status: status with which the start ends, one of the failures or ``UNHEALTHY``.
        :param deployment_id: id of the deployment, by default all deployments of the model or chain.
        """
        if status not in {*FAILED_STATUSES, "UNHEALTHY"}:
            raise EmulatorError(f"A start can't fail with the status {status}.")
        for deployment in self._deployments(id_, deployment_id):
            deployment.next_failures.append(status)

    def delete(self, id_: str) -> None:
        """Delete a model or chain, as a user of the workspace could at any time."""
        endpoint = self._endpoint(id_)
        self._run_in_loop(lambda: self._workspace.delete_endpoint(endpoint))

    def start(self) -> None:
        """Start the server, and return when it listens and all models are loaded.

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

    def _deploy(self, kind: EndpointKind, id_: str, model: Any) -> Endpoint:
        if not _ENDPOINT_ID.fullmatch(id_):
            raise EmulatorError(f"{kind} id {id_[:80]!r} is not valid: ids are letters and digits.")
        model = _as_model(model)
        return Endpoint.deploy(kind, id_, model, self._host_model(kind, id_, model), created_at=self._clock.now())

    def _host_model(self, kind: EndpointKind, id_: str, model: Model) -> Callable[[str], Deployment]:
        """Set up one instance of a model, and one of each candidate with a backend of its own.

        :returns: a function that makes deployments.
        """
        common = self._host_backend(kind, id_, model)
        candidates = {
            deployment_id: self._host_backend(kind, id_, replace(model, backend=backend))
            for deployment_id, backend in model.candidates.items()
            if backend is not None
        }

        def make_deployment(deployment_id: str) -> Deployment:
            hosted_app, predict_path = candidates.get(deployment_id, common)
            replicas = Replicas(model.scaling, self._limits.parking_seconds, self._clock)
            return Deployment(
                deployment_id,
                id_,
                hosted_app,
                predict_path,
                replicas,
                clock=self._clock,
                durations=self._durations,
                meter=self.meter,
            )

        return make_deployment

    def _host_backend(self, kind: EndpointKind, id_: str, model: Model) -> tuple[HostedApp, str]:
        app, predict_path = make_app(kind, id_, model)
        hosted_app = HostedApp(app, f"{kind.capitalize()} {id_}")
        self._hosted_apps.append(hosted_app)
        return hosted_app, predict_path

    def _check_id(self, id_: str | None) -> None:
        if id_ is not None:
            self._deployments(id_, None)

    def _deployments(self, id_: str, deployment_id: str | None) -> list[Deployment]:
        endpoint = self._endpoint(id_)
        if deployment_id is None:
            return list(endpoint.deployments.values())
        if deployment_id not in endpoint.deployments:
            raise EmulatorError(f"{endpoint.kind.capitalize()} {id_} has no deployment {deployment_id}.")
        return [endpoint.deployments[deployment_id]]

    def _endpoint(self, id_: str) -> Endpoint:
        endpoint = self.models.get(id_) or self.chains.get(id_)
        if endpoint is None:
            raise EmulatorError(f"There is no model or chain {id_}.")
        return endpoint

    def _run_in_loop(self, function: Callable[[], object]) -> None:
        """Call a function in the server's event loop. If the server is not running, call the function directly."""
        if self._loop is None:
            function()
            return

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _run(self, server: Server, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            try:
                runner.run(self._serve(server, listener))
            except Exception as exc:
                server.failure = exc
            finally:
                server.start_completed.set()

    async def _serve(self, server: Server, listener: socket.socket) -> None:
        started = []
        self._loop = asyncio.get_running_loop()
        try:
            for hosted_app in self._hosted_apps:
                started.append(hosted_app)
                await hosted_app.start()
            await server.serve(sockets=[listener])
        finally:
            self._loop = None
            await self._gateway.async_inference.stop()
            for hosted_app in started:
                await hosted_app.stop()


def _as_model(model: Any) -> Model:
    return model if isinstance(model, Model) else Model(model)
