"""Baseten on this machine: the gateway in a background thread."""

import asyncio
import itertools
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn

from airflow_provider_baseten.emulator.async_requests import AsyncRequest
from airflow_provider_baseten.emulator.auth import ApiKeys, KeyType
from airflow_provider_baseten.emulator.backends import make_app
from airflow_provider_baseten.emulator.client_connections import ClientConnections
from airflow_provider_baseten.emulator.clock import Clock
from airflow_provider_baseten.emulator.deployments import Deployment, Endpoint, Limits, Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.faults import Fault, Faults
from airflow_provider_baseten.emulator.gateway import Gateway
from airflow_provider_baseten.emulator.hosting import HostedApp
from airflow_provider_baseten.emulator.records import RecordedRequest, Records
from airflow_provider_baseten.emulator.replicas import Replicas

# What Cloudflare, in front of Baseten, takes.
_MOST_HEADER_BYTES = 131_072

# How often a server does what is regular, such as the date in its answers.
_TICK_SECONDS = 0.1

# How long requests in flight may take to notice that the server stops.
_MOST_SECONDS_TO_STOP = 5.0

_ID = re.compile(r"[A-Za-z0-9]{1,63}")


class Emulator:
    """Baseten's inference API on 127.0.0.1.

    Use it as a context manager: the server listens once the block is entered, and everything is stopped at its end.

    >>> with Emulator(models={"abc": lambda model_input: {"echo": model_input}}) as baseten:
    ...     print(f"{baseten.url}/model-abc/environments/production/predict")  # doctest: +SKIP

    :param models: model id -> a :class:`Model`, or what can be its backend: a Python callable, the path of a Truss
        directory, an ASGI app, an :class:`Upstream`.
    :param chains: chain id -> the same.
    :param model_apis: slug of a Model API, for example ``org/name`` -> the same; found at ``/inference/v1``.
    :param api_key: key that may do everything; without any key every request is accepted.
    :param api_keys: further keys, each with its type.
    :param host: address to listen on, by default only this machine.
    :param port: port to listen on, by default a free one.
    :param limits: body size and times, by default Baseten's own.
    :param clock: where time comes from, by default the real time.
    :param webhook_secrets: secrets that sign webhooks, two while they are rotated: the new one, the old one.
    :param keep_requests: how many of the newest requests :attr:`requests` remembers.
    """

    def __init__(
        self,
        models: Mapping[str, Any] | None = None,
        chains: Mapping[str, Any] | None = None,
        *,
        model_apis: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        api_keys: Mapping[str, KeyType] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        clock: Clock | None = None,
        webhook_secrets: Sequence[str] = (),
        keep_requests: int = 100_000,
    ) -> None:
        keys: dict[str, KeyType] = {**(api_keys or {})}
        if api_key is not None:
            keys[api_key] = "WORKSPACE_MANAGE_ALL"
        self._connections = ClientConnections()
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._hosted: list[HostedApp] = []
        self.models = {id_: self._deploy("model", id_, model) for id_, model in (models or {}).items()}
        self.chains = {id_: self._deploy("chain", id_, chain) for id_, chain in (chains or {}).items()}
        self.model_apis = {
            slug: self._run_model("model", slug, _model(model))(f"{slug}d1")
            for slug, model in (model_apis or {}).items()
        }
        self._gateway = Gateway(
            models=self.models,
            chains=self.chains,
            model_apis=self.model_apis,
            keys=ApiKeys(keys),
            limits=self._limits,
            clock=self._clock,
            connections=self._connections,
            records=Records(keep_requests),
        )
        self.webhook_secrets = webhook_secrets
        self._host = host
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Base URL, to be followed by ``/model-{id}/...``.

        :raises EmulatorError: the emulator does not run.
        """
        if self._thread is None:
            raise EmulatorError("The emulator does not run; start it first.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """Requests so far, oldest first."""
        return self._gateway.records.all()

    @property
    def async_requests(self) -> dict[str, AsyncRequest]:
        """Async requests so far by id, oldest first; those too whose status Baseten would have forgotten."""
        return self._gateway.async_inference.requests.all()

    @property
    def webhook_secrets(self) -> Sequence[str]:
        """Secrets that sign webhooks, the newest first; may be set at any time."""
        return self._gateway.async_inference.webhooks.secrets

    @webhook_secrets.setter
    def webhook_secrets(self, secrets: Sequence[str]) -> None:
        self._gateway.async_inference.webhooks.secrets = tuple(secrets)

    def hold(self, id_: str | None = None) -> None:
        """Hold the async queue: nothing is started, so that requests stay queued.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._in_loop(lambda: self._gateway.async_inference.hold(id_))

    def release(self, id_: str | None = None) -> None:
        """Let the async queue go on.

        :param id_: id of the model or chain, by default all.
        """
        self._check_id(id_)
        self._in_loop(lambda: self._gateway.async_inference.release(id_))

    @property
    def faults(self) -> Faults:
        """Faults that are still to come."""
        return self._gateway.faults

    def deactivate(self, id_: str, deployment_id: str | None = None) -> None:
        """Deactivate deployments: their requests are refused with 400, the waiting ones too.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all of them.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._in_loop(deployment.deactivate)

    def activate(self, id_: str, deployment_id: str | None = None) -> None:
        """Activate deployments again.

        :param id_: id of the model or chain.
        :param deployment_id: id of the deployment, by default all of them.
        """
        for deployment in self._deployments(id_, deployment_id):
            self._in_loop(deployment.activate)

    def inject(self, *faults: Fault) -> None:
        """Let something go wrong; see :class:`Fault`."""
        self.faults.add(*faults)

    def start(self) -> None:
        """Start the server; return when it listens and all models are loaded.

        :raises EmulatorError: the port is taken, or a model could not be loaded.
        """
        if self._thread is not None:
            raise EmulatorError("The emulator runs already.")
        listener = self._listen()
        self._server = _Server(_config(self._gateway))
        self._connections.server = self._server
        thread = threading.Thread(target=self._run, args=(self._server, listener), name="baseten-emulator", daemon=True)
        thread.start()
        self._server.settled.wait()
        if self._server.failure is not None:
            thread.join()
            listener.close()
            raise self._server.failure
        self._thread = thread

    def stop(self) -> None:
        """Stop the server; requests in flight lose their connection, async requests stay as they are."""
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

    def _deploy(self, kind: Literal["model", "chain"], id_: str, model: Any) -> Endpoint:
        if not _ID.fullmatch(id_):
            raise EmulatorError(f"{kind} id {id_[:80]!r} is not valid: ids are letters and digits.")
        model = _model(model)
        return Endpoint.deploy(kind, id_, model, self._run_model(kind, id_, model), created_at=self._clock.now())

    def _run_model(self, kind: Literal["model", "chain"], id_: str, model: Model) -> Callable[[str], Deployment]:
        """Host the model, once, and return what makes a deployment of it."""
        app, predict_path = make_app(kind, id_, model)
        hosted = HostedApp(app, f"{kind.capitalize()} {id_}")
        self._hosted.append(hosted)

        def deployment(deployment_id: str) -> Deployment:
            replicas = Replicas(model.scaling, self._limits.parking_seconds, self._clock)
            return Deployment(deployment_id, hosted, predict_path, replicas)

        return deployment

    def _check_id(self, id_: str | None) -> None:
        if id_ is not None:
            self._deployments(id_, None)

    def _deployments(self, id_: str, deployment_id: str | None) -> list[Deployment]:
        endpoint = self.models.get(id_) or self.chains.get(id_)
        if endpoint is None:
            raise EmulatorError(f"There is no model or chain {id_}.")
        if deployment_id is None:
            return list(endpoint.deployments.values())
        if deployment_id not in endpoint.deployments:
            raise EmulatorError(f"{endpoint.kind.capitalize()} {id_} has no deployment {deployment_id}.")
        return [endpoint.deployments[deployment_id]]

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Change what belongs to the server's event loop."""
        if self._loop is None:
            change()
            return

        async def run() -> None:
            change()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as exc:
            listener.close()
            raise EmulatorError(
                f"{self._host}:{self._port} can't be listened on ({os.strerror(exc.errno or 0)}); choose another port."
            ) from exc
        self._port = listener.getsockname()[1]
        return listener

    def _run(self, server: "_Server", listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            try:
                runner.run(self._serve(server, listener))
            except Exception as exc:
                server.failure = exc
            finally:
                server.settled.set()

    async def _serve(self, server: "_Server", listener: socket.socket) -> None:
        started = []
        self._loop = asyncio.get_running_loop()
        try:
            for hosted in self._hosted:
                started.append(hosted)
                await hosted.start()
            await server.serve(sockets=[listener])
        finally:
            self._loop = None
            await self._gateway.async_inference.stop()
            for hosted in started:
                await hosted.stop()


class _Server(uvicorn.Server):
    """Tells another thread when it listens, and stops at once: uvicorn itself looks every 0.1 s for what to do."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        self.failure: Exception | None = None
        self._exit = asyncio.Event()

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let :meth:`serve` return; for other threads than that of the event loop."""
        loop.call_soon_threadsafe(self._exit.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def main_loop(self) -> None:
        ticks = itertools.count()
        while not self._exit.is_set():
            await self.on_tick(next(ticks))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._exit.wait(), _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS_TO_STOP):
                while tasks := list(self.server_state.tasks):
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                for connection in list(self.server_state.connections):
                    connection.shutdown()
                while self.server_state.connections:  # noqa: ASYNC110 (uvicorn tells nobody when the last one is gone)
                    await asyncio.sleep(0.001)


def _model(model: Any) -> Model:
    return model if isinstance(model, Model) else Model(model)


def _config(gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        lifespan="off",
        # As Truss's own server. The other parser drops the body of a request that offers an upgrade.
        http="h11",
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=60,
        backlog=2048,
    )


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
