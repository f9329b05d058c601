"""Clients of Baseten: ``Client`` blocks, and ``AsyncClient`` is for event loops. Both take the same credentials."""

from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, Unpack

from airflow_provider_baseten.api.async_predict import (
    AsyncPredictOptions,
    build_async_predict,
    build_cancel,
    build_queue_status,
    build_status,
    request_id_of,
)
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.predict import PredictOptions, build_predict
from airflow_provider_baseten.api.responses import Response, decode_model_output, decode_object
from airflow_provider_baseten.api.sync_route import RouteOptions, build_sync_route
from airflow_provider_baseten.api.target import ModelApis, Target
from airflow_provider_baseten.api.wake import build_wake
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.observer import Observer
from airflow_provider_baseten.client.transport import Attempt, OnChunk, Transport
from airflow_provider_baseten.exceptions import BasetenInputError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from airflow_provider_baseten.client.management import AsyncManagement, Management


class _BaseClient:
    """Base of both clients.

    :param credentials: address and keys of the workspace.
    :param observer: observer of the calls, by default none.
    """

    def __init__(self, credentials: Credentials, *, observer: Observer | None = None) -> None:
        self.credentials = credentials
        self.observer = observer or Observer()

    def with_options(self, *, timeout: float | None = None, max_attempts: int | None = None) -> Self:
        """Return another client with the same credentials and other limits. The new client has the same observer, and
        connections of its own.

        A limit that is not given stays unchanged.

        :param timeout: seconds to wait for a response.
        :param max_attempts: maximum number of attempts for each request, the first included; 1 for no retry.
        """
        credentials = self.credentials.with_options(timeout=timeout, max_attempts=max_attempts)
        return type(self)(credentials, observer=self.observer)


class Client(_BaseClient):
    """Calls models, chains and custom servers, and blocks until the response has arrived.

    A client belongs to one thread of one process. It opens connections on the first request; close it, or use it in
    ``with``.

    >>> with Client(Credentials(api_key="...")) as client:  # doctest: +SKIP
    ...     client.predict(Target(model_id="abcd1234"), {"prompt": "Hello"})

    :param credentials: address and keys of the workspace.
    :param observer: observer of the calls, see :mod:`airflow_provider_baseten.client.observer`; by default none.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def predict(self, target: Target, model_input: Any, **options: Unpack[PredictOptions]) -> Any:
        """Run a model, or a chain's ``run_remote``, and return its output.

        :param target: model or chain.
        :param model_input: any JSON value; with ``content_type="application/octet-stream"`` any msgpack value, numpy
            arrays included.
        :param options: see :class:`~airflow_provider_baseten.api.predict.PredictOptions`.
        :returns: the decoded output; a streamed output is returned when it is complete.
        :raises BasetenError: see :mod:`airflow_provider_baseten.exceptions`.
        """
        return decode_model_output(self.send(build_predict(target, model_input, **options)))

    def sync_route(self, target: Target | ModelApis, route: str, **options: Unpack[RouteOptions]) -> Any:
        """Call a route of a custom server, and return its response decoded by its Content-Type: JSON, text or bytes.

        :param target: model or chain, or the Model APIs.
        :param route: path on the server, for example ``v1/embeddings``.
        :param options: see :class:`~airflow_provider_baseten.api.sync_route.RouteOptions`.
        :raises BasetenError: see :mod:`airflow_provider_baseten.exceptions`.
        """
        return self.send(build_sync_route(target, route, **options)).output()

    def async_predict(self, target: Target, model_input: Any, **options: Unpack[AsyncPredictOptions]) -> str:
        """Queue a prediction and return its request id.

        :param options: see :class:`~airflow_provider_baseten.api.async_predict.AsyncPredictOptions`.
        :raises BasetenError: Baseten returned no id. If the error's ``may_have_run`` is true, the prediction may be
            queued all the same.
        """
        request = build_async_predict(target, model_input, **options)
        return request_id_of(self.send(request).output(), request.subject)

    def get_async_request(self, target: Target, request_id: str) -> dict[str, Any]:
        """Return the state of an async request: ``status``, ``webhook_status`` and ``errors``, but not the output.

        :raises BasetenNotFoundError: Baseten does not know the id. Baseten forgets a request one hour after its end.
        """
        return decode_object(self.send(build_status(target, request_id)))

    def cancel_async_request(self, target: Target, request_id: str) -> bool:
        """Cancel an async request if it is still queued; return whether it was cancelled."""
        return bool(decode_object(self.send(build_cancel(target, request_id))).get("canceled"))

    def get_async_queue_status(self, target: Target) -> dict[str, Any]:
        """Return ``num_queued_requests`` and ``num_in_progress_requests`` of a deployment."""
        return decode_object(self.send(build_queue_status(target)))

    def wake(self, target: Target) -> None:
        """Start a replica of a deployment that has scaled to zero, and return before the replica is ready."""
        self.send(build_wake(target))

    def openai(self, target: Target | ModelApis) -> "OpenAI":
        """Return a client of the official OpenAI SDK for an OpenAI-compatible server.

        Close the SDK's client, or use it in ``with``. It uses this client's credentials, timeout and retries, and
        follows no redirects. The SDK's own retries are off. They repeat calls that the model may have run already, and
        you may pay for such a call twice. ``openai_client.with_options(max_retries=2)`` turns them on.

        :param target: a model or a chain with such a server, or the Model APIs.
        :raises BasetenInputError: the package ``openai`` is not installed (extra ``openai``).

        https://docs.baseten.co/inference/model-apis/overview
        """
        client: OpenAI = _openai_sdk().make_client(self.credentials, target, self.observer)
        return client

    @cached_property
    def management(self) -> "Management":
        """The management API, called with the management key."""
        from airflow_provider_baseten.client.management import Management

        return Management(self)

    @property
    def attempt_in_flight(self) -> Attempt | None:
        """The request in flight, which has no complete response yet; ``None`` if no request is in flight.

        An exception from outside, for example from a signal handler, may end the call. The value then stays set.
        """
        return self._transport.attempt_in_flight

    def send(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Send a request that one of the ``build_`` functions made, and return the whole response.

        :param on_chunk: called with each part of the body as it arrives.
        :raises BasetenError: error of the last attempt.
        """
        return self._transport.send(request, on_chunk)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @cached_property
    def _transport(self) -> Transport:
        return Transport(self.credentials, self.observer)


class AsyncClient(_BaseClient):
    """Calls models, chains and custom servers without blocking the event loop, with the methods of :class:`Client`.

    A client belongs to one event loop. Close it, or use it in ``async with``.

    :param credentials: address and keys of the workspace.
    :param observer: observer of the calls, see :mod:`airflow_provider_baseten.client.observer`; by default none.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def predict(self, target: Target, model_input: Any, **options: Unpack[PredictOptions]) -> Any:
        """Run a model, and return its output; see :meth:`Client.predict`."""
        return decode_model_output(await self.send(build_predict(target, model_input, **options)))

    async def sync_route(self, target: Target | ModelApis, route: str, **options: Unpack[RouteOptions]) -> Any:
        """Call a route of a custom server; see :meth:`Client.sync_route`."""
        return (await self.send(build_sync_route(target, route, **options))).output()

    async def async_predict(self, target: Target, model_input: Any, **options: Unpack[AsyncPredictOptions]) -> str:
        """Queue a prediction and return its request id; see :meth:`Client.async_predict`."""
        request = build_async_predict(target, model_input, **options)
        return request_id_of((await self.send(request)).output(), request.subject)

    async def get_async_request(self, target: Target, request_id: str) -> dict[str, Any]:
        """Return the status of an async request; see :meth:`Client.get_async_request`."""
        return decode_object(await self.send(build_status(target, request_id)))

    async def cancel_async_request(self, target: Target, request_id: str) -> bool:
        """Cancel an async request if it is still queued; see :meth:`Client.cancel_async_request`."""
        return bool(decode_object(await self.send(build_cancel(target, request_id))).get("canceled"))

    async def get_async_queue_status(self, target: Target) -> dict[str, Any]:
        """Return the length of the async queue; see :meth:`Client.get_async_queue_status`."""
        return decode_object(await self.send(build_queue_status(target)))

    async def wake(self, target: Target) -> None:
        """Start a replica of a deployment that has scaled to zero; see :meth:`Client.wake`."""
        await self.send(build_wake(target))

    def openai(self, target: Target | ModelApis) -> "AsyncOpenAI":
        """Return an async client of the official OpenAI SDK; see :meth:`Client.openai`."""
        client: AsyncOpenAI = _openai_sdk().make_async_client(self.credentials, target, self.observer)
        return client

    @cached_property
    def management(self) -> "AsyncManagement":
        """The management API, called with the management key."""
        from airflow_provider_baseten.client.management import AsyncManagement

        return AsyncManagement(self)

    async def send(self, request: Request) -> Response:
        """Send a request that one of the ``build_`` functions made, and return the whole response.

        :raises BasetenError: error of the last attempt.
        """
        return await self._transport.send(request)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    @cached_property
    def _transport(self) -> AsyncTransport:
        return AsyncTransport(self.credentials, self.observer)


def _openai_sdk() -> ModuleType:
    try:
        from airflow_provider_baseten.client import openai_sdk
    except ImportError:
        raise BasetenInputError(
            "The OpenAI SDK is not installed: pip install 'airflow-provider-baseten[openai]'."
        ) from None
    return openai_sdk
