"""The hook: an Airflow connection, and the calls it can make."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from airflow.sdk import BaseHook
from asgiref.sync import sync_to_async

from airflow_provider_baseten.api import async_predict
from airflow_provider_baseten.api.async_predict import (
    AsyncPredictOptions,
    build_async_predict,
    build_cancel,
    build_queue_status,
    build_status,
)
from airflow_provider_baseten.api.deployments import build_management_get, build_wake
from airflow_provider_baseten.api.http import READ_TIMEOUT, Request
from airflow_provider_baseten.api.model_apis import openai_target
from airflow_provider_baseten.api.predict import PredictOptions, build_predict
from airflow_provider_baseten.api.responses import Response, model_output
from airflow_provider_baseten.api.sync_route import RouteOptions, build_sync_route
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_seconds, shown
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.management import ManagementCalls
from airflow_provider_baseten.client.response_reader import MAX_RESPONSE_BYTES
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.client.transport import Attempt, OnChunk, Transport
from airflow_provider_baseten.compat import AirflowNotFoundException, conf
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenResponseError,
)
from airflow_provider_baseten.get_provider_info import FIELD_BEHAVIOUR
from airflow_provider_baseten.hooks.connection import BasetenConnection, check_variable

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

Result = TypeVar("Result")

# What Airflow shows in the place of a password, and tests with if it takes the form for another connection.
_AIRFLOW_MASK = "***"

# Seconds; the management API computes nothing.
_MANAGEMENT_TIMEOUT = 60.0


class BasetenHook(ManagementCalls, BaseHook):
    """Calls models, chains and custom servers on Baseten with the credentials of an Airflow connection.

    Key: the password of the connection. If the *default* connection does not exist, ``BASETEN_API_KEY``; a missing
    connection with another name is an error. Host: empty for Baseten's own hosts, or the base URL of an emulator or a
    proxy.

    A method that calls Baseten has an async twin with ``a`` before its name, for example :meth:`apredict`; the twin of
    :meth:`sync_route` is :meth:`async_route`. :meth:`async_predict` and :meth:`test_connection` have none: they
    block until the answer is there. A hook belongs to the process and thread that made it.

    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``.
    :param timeout: seconds to wait for an answer, and for each further part of a streamed one; by default 1260, which
        is longer than Baseten lets a predict run.
    :param request_retries: how often a request that did not run is sent again.
    """

    conn_name_attr = "baseten_conn_id"
    default_conn_name = "baseten_default"
    conn_type = "baseten"
    hook_name = "Baseten"

    def __init__(
        self,
        baseten_conn_id: str = default_conn_name,
        *,
        timeout: float = READ_TIMEOUT,
        request_retries: RequestRetries | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(baseten_conn_id, str) or not baseten_conn_id:
            raise BasetenInputError(f"baseten_conn_id={shown(baseten_conn_id)} is no id of a connection.")
        check_seconds(timeout=timeout)
        if not isinstance(request_retries, RequestRetries | None):
            raise BasetenInputError(f"request_retries={shown(request_retries)} is not a RequestRetries.")
        self.baseten_conn_id = baseten_conn_id
        self._timeout = timeout
        self._retries = request_retries
        self._made_async_transport: AsyncTransport | None = None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the names of the form's fields to Airflow 3.1; newer ones read the provider's metadata."""
        return FIELD_BEHAVIOUR

    def predict(self, target: Target, model_input: Any, **options: Unpack[PredictOptions]) -> Any:
        """Run a model, or a chain's ``run_remote``, and return its output.

        :param target: what to call.
        :param model_input: any JSON value; with ``content_type="application/octet-stream"`` any msgpack value, numpy
            arrays included.
        :param options: see :class:`~airflow_provider_baseten.api.predict.PredictOptions`.
        :returns: the decoded output; a streamed one as a whole.
        :raises BasetenError: see :mod:`airflow_provider_baseten.exceptions`.
        """
        return model_output(self.send(build_predict(self.located(target), model_input, **options)))

    async def apredict(self, target: Target, model_input: Any, **options: Unpack[PredictOptions]) -> Any:
        """Run a model without blocking the event loop; see :meth:`predict`."""
        located = await self.alocated(target)
        return model_output(await self.asend(build_predict(located, model_input, **options)))

    def sync_route(self, target: Target, route: str, **options: Unpack[RouteOptions]) -> Any:
        """Call a route of a custom server and return its answer by its Content-Type: JSON, text or bytes.

        :param target: what to call.
        :param route: path on the server, for example ``v1/embeddings``.
        :param options: see :class:`~airflow_provider_baseten.api.sync_route.RouteOptions`.
        :raises BasetenError: see :mod:`airflow_provider_baseten.exceptions`.
        """
        return self.send(build_sync_route(self.located(target), route, **options)).output()

    async def async_route(self, target: Target, route: str, **options: Unpack[RouteOptions]) -> Any:
        """Call a route of a custom server without blocking the event loop; see :meth:`sync_route`."""
        located = await self.alocated(target)
        return (await self.asend(build_sync_route(located, route, **options))).output()

    def async_predict(self, target: Target, model_input: Any, **options: Unpack[AsyncPredictOptions]) -> str:
        """Queue a prediction and return its request id.

        :param options: see :class:`~airflow_provider_baseten.api.async_predict.AsyncPredictOptions`.
        :raises BasetenError: an error with ``may_have_run`` means that it may be queued although no id came back.
        """
        request = build_async_predict(self.located(target), model_input, **options)
        return async_predict.request_id_of(self.send(request).output(), request.subject)

    def get_async_request(self, target: Target, request_id: str) -> dict[str, Any]:
        """Return the status of an async request: ``status``, ``webhook_status``, ``errors``, never its output.

        :raises BasetenNotFoundError: Baseten does not know the id, or no longer: statuses are kept for one hour.
        """
        return _fields(self.send(build_status(self.located(target), request_id)))

    async def aget_async_request(self, target: Target, request_id: str) -> dict[str, Any]:
        """Return the status of an async request without blocking; see :meth:`get_async_request`."""
        return _fields(await self.asend(build_status(await self.alocated(target), request_id)))

    def cancel_async_request(self, target: Target, request_id: str) -> bool:
        """Cancel an async request if it is still queued; return whether it was."""
        response = self.send(build_cancel(self.located(target), request_id))
        return bool(_fields(response).get("canceled"))

    async def acancel_async_request(self, target: Target, request_id: str) -> bool:
        """Cancel an async request without blocking; see :meth:`cancel_async_request`."""
        response = await self.asend(build_cancel(await self.alocated(target), request_id))
        return bool(_fields(response).get("canceled"))

    def get_async_queue_status(self, target: Target) -> dict[str, Any]:
        """Return ``num_queued_requests`` and ``num_in_progress_requests`` of a deployment."""
        return _fields(self.send(build_queue_status(self.located(target))))

    async def aget_async_queue_status(self, target: Target) -> dict[str, Any]:
        """Return the length of the async queue without blocking; see :meth:`get_async_queue_status`."""
        return _fields(await self.asend(build_queue_status(await self.alocated(target))))

    def wake(self, target: Target) -> None:
        """Start a replica of a deployment that has scaled to zero; return at once, without waiting for it."""
        self.send(build_wake(self.located(target)))

    async def awake(self, target: Target) -> None:
        """Start a replica without blocking; see :meth:`wake`."""
        await self.asend(build_wake(await self.alocated(target)))

    def openai_client(self, target: Target | None = None, *, model_apis: bool = False) -> "OpenAI":
        """Return a client of the official OpenAI SDK for an OpenAI-compatible server; close it, or use it in ``with``.

        It has the connection's key and address, and this hook's timeout. Like the hook it sends again what did not run,
        and only that; the SDK's own retries, which may pay twice, are off: ``client.with_options(max_retries=2)`` turns
        them on. It follows no redirects.

        :param target: a model with such a server; exactly one of ``target`` and ``model_apis`` is given.
        :param model_apis: whether the client is for Baseten's Model APIs; by default false.
        :raises BasetenInputError: the package ``openai`` is not installed (extra ``openai``), or an argument is wrong.

        https://docs.baseten.co/inference/model-apis/overview
        """
        called = self.located(openai_target(target, model_apis))
        client: OpenAI = _openai().make_client(
            self.connection, called, read_timeout=self._timeout, request_retries=self._retries
        )
        return client

    async def aopenai_client(self, target: Target | None = None, *, model_apis: bool = False) -> "AsyncOpenAI":
        """Return an async client of the official OpenAI SDK; see :meth:`openai_client`."""
        called = await self.alocated(openai_target(target, model_apis))
        client: AsyncOpenAI = _openai().make_async_client(
            await self.aconnection(), called, read_timeout=self._timeout, request_retries=self._retries
        )
        return client

    def send(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Send a request that :mod:`airflow_provider_baseten.api.requests` built, and return the whole answer.

        :param on_chunk: called with each part of the body as it arrives.
        """
        return self._transport.send(request, on_chunk)

    @property
    def under_way(self) -> Attempt | None:
        """The request of :meth:`send` that was sent and is not answered yet, for what breaks it off."""
        return self._transport.under_way

    async def asend(self, request: Request) -> Response:
        """Send a request without blocking the event loop; see :meth:`send`."""
        return await (await self._async_transport()).send(request)

    async def aclose(self) -> None:
        """Close the connections that the async calls have kept."""
        transport, self._made_async_transport = self._made_async_transport, None  # Kept ones close when it is gone.
        if transport is not None:
            await transport.close()

    def quick(self, timeout: float) -> "BasetenHook":
        """Return a hook on the same connection that tries once and does not wait long.

        :param timeout: seconds.
        """
        hook = BasetenHook(self.baseten_conn_id, timeout=timeout, request_retries=RequestRetries(max_attempts=1))
        if "connection" in self.__dict__:
            hook.__dict__["connection"] = self.connection
        return hook

    def _manager(self) -> "BasetenHook":
        hook = BasetenHook(self.baseten_conn_id, timeout=_MANAGEMENT_TIMEOUT, request_retries=self._retries)
        hook.__dict__["connection"] = replace(self.connection, api_key=self.connection.management_api_key)
        return hook

    async def _amanager(self) -> "BasetenHook":
        await self.aconnection()
        return self._manager()

    def located(self, target: Target) -> Target:
        """Return the target at this connection's host, unless it names another one itself."""
        if _checked(target).base_url:
            return target
        return replace(target, base_url=self.connection.base_url)

    async def alocated(self, target: Target) -> Target:
        """Return the target at this connection's host; see :meth:`located`."""
        if _checked(target).base_url:
            return target
        return replace(target, base_url=(await self.aconnection()).base_url)

    @cached_property
    def connection(self) -> BasetenConnection:
        """The checked connection.

        :raises BasetenAuthError: it does not exist or has no key.
        :raises BasetenInputError: one of its fields is not valid.
        """
        return self._read_connection()

    def _read_connection(self, called: str | None = None) -> BasetenConnection:
        try:
            return BasetenConnection.from_airflow(self.get_connection(self.baseten_conn_id), called)
        except AirflowNotFoundException:
            return self._without_connection()

    async def aconnection(self) -> BasetenConnection:
        """Return the checked connection; see :attr:`connection`."""
        if "connection" not in self.__dict__:
            try:
                found = await self.aget_connection(self.baseten_conn_id)
                connection = await _in_thread(BasetenConnection.from_airflow, found)
            except AirflowNotFoundException:
                # A trigger that runs in dag.test() finds connections of Airflow's database in this way only.
                connection = await _in_thread(lambda: self.connection)
            self.__dict__["connection"] = connection
        return self.connection

    def test_connection(self) -> tuple[bool, str]:
        """Ask the management API who the key belongs to; nothing is changed and nothing is paid.

        :returns: whether the connection works, and a sentence that says so or which part is wrong.
        """
        try:
            # The form tests its connection under an id that nobody has given.
            connection = self._read_connection(called="the connection")
            if connection.api_key == _AIRFLOW_MASK:
                return False, (
                    "Airflow did not pass the saved API key on, so that it was not tested. If the connection has no "
                    "port, edit it, enter 0 as Port, and test it again. Up to Airflow 3.1.6 the button never passes a "
                    "key on: run 'airflow connections test' with the id of the connection."
                )
            keys = {"management_api_key": connection.management_api_key, "API key": connection.api_key}
            # The same key twice is one key to test, under its second name.
            names = {key: name for name, key in keys.items()}
            return True, " ".join(self._test_key(connection, name, key) for key, name in names.items())
        except BasetenError as error:
            return False, str(error)

    def _test_key(self, connection: BasetenConnection, name: str, api_key: str) -> str:
        transport = Transport(
            api_key, connection.auth_scheme, read_timeout=10, request_retries=RequestRetries(max_attempts=1)
        )
        try:
            for path in ("/v1/users/me", "/v1/models"):  # A team's key has no user.
                request = build_management_get(connection.management_url, path)
                try:
                    transport.send(request)
                except BasetenNotFoundError:
                    continue
                return f"The {name} was accepted by {connection.management_url}."
            return f"{connection.management_url} answers, but has no management API to test the {name} with."
        except BasetenAuthError as error:
            if error.status == 403:
                return f"The {name} is known, but may not use the management API; it can call models."
            raise BasetenAuthError(f"The {name} was refused by {connection.management_url}: enter it again.") from None
        finally:
            transport.close()

    def _without_connection(self) -> BasetenConnection:
        check_variable(self.baseten_conn_id)
        if self.baseten_conn_id == self.default_conn_name:
            return BasetenConnection.from_environment(self.baseten_conn_id)
        raise BasetenAuthError(
            f"Connection '{self.baseten_conn_id}' does not exist: add one of type baseten with the API key as password."
        )

    @cached_property
    def _transport(self) -> Transport:
        return Transport(
            self.connection.api_key,
            self.connection.auth_scheme,
            read_timeout=self._timeout,
            request_retries=self._retries,
            max_response_bytes=max_response_bytes(),
            error_details=self.connection.log_error_details,
        )

    async def _async_transport(self) -> AsyncTransport:
        if self._made_async_transport is None:
            connection = await self.aconnection()
            self._made_async_transport = AsyncTransport(
                connection.api_key,
                connection.auth_scheme,
                read_timeout=self._timeout,
                request_retries=self._retries,
                max_response_bytes=max_response_bytes(),
                error_details=connection.log_error_details,
            )
        return self._made_async_transport


def _checked(target: Target) -> Target:
    if not isinstance(target, Target):
        raise BasetenInputError(f"target={shown(target)} is no Target: give Target(model_id=...), for example.")
    return target


def max_response_bytes() -> int:
    """Return the option ``[baseten] max_response_bytes``: most bytes of a model's answer, by default 1 GiB.

    :raises BasetenInputError: it is not a whole number of bytes.
    """
    text = str(conf.get("baseten", "max_response_bytes", fallback=None) or MAX_RESPONSE_BYTES)
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) == 0:
        raise BasetenInputError(
            f"[baseten] max_response_bytes={text[:40]!r} is not a number of bytes such as 1073741824."
        )
    return int(text)


def _openai() -> ModuleType:
    try:
        from airflow_provider_baseten.client import openai_sdk
    except ImportError:
        raise BasetenInputError(
            "The OpenAI SDK is not installed: pip install 'airflow-provider-baseten[openai]'."
        ) from None
    return openai_sdk


def _fields(response: Response) -> dict[str, Any]:
    output = response.output()
    if not isinstance(output, dict):
        raise BasetenResponseError(
            f"{response.request.subject} answered {response.status} with something else than an object.",
            status=response.status,
            request_id=response.request_id,
        )
    return output


async def _in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function that talks to Airflow's supervisor, as the loop may be doing.

    Of all threads only those of asgiref find the way back to the loop of a triggerer in Airflow 3.1.
    """
    return await sync_to_async(function, thread_sensitive=False)(*arguments)
