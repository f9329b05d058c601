"""Hook for Airflow connections of type Baseten."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

from airflow.sdk import BaseHook

from airflow_provider_baseten.api.async_predict import AsyncPredictOptions
from airflow_provider_baseten.api.http import READ_TIMEOUT
from airflow_provider_baseten.api.predict import PredictOptions
from airflow_provider_baseten.api.sync_route import RouteOptions
from airflow_provider_baseten.api.target import ModelApis, Target, check_request_id, openai_target
from airflow_provider_baseten.arguments import check_seconds, shown
from airflow_provider_baseten.client.client import AsyncClient, Client
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenResultLostError
from airflow_provider_baseten.get_provider_info import FIELD_BEHAVIOUR
from airflow_provider_baseten.hook_lineage import report_input
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.hooks.key_check import check_keys
from airflow_provider_baseten.hooks.lookup import afind_connection, find_connection
from airflow_provider_baseten.lineage.assets import asset_uri
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.observer import AIRFLOW_OBSERVER

if TYPE_CHECKING:
    from openai import OpenAI


class BasetenHook(BaseHook):
    """Hook that calls models, chains and custom servers on Baseten with the credentials of an Airflow connection.

    The API key is the password of the connection. If the *default* connection does not exist, the key is read from the
    environment variable ``BASETEN_API_KEY``. Any other connection must exist. To call Baseten itself, leave the host of
    the connection empty. To call an emulator or a proxy, enter its base URL as the host.

    The methods of the hook are blocking, for use in tasks. :meth:`client` returns a client with more methods, and
    :meth:`async_client` a client that does not block. Use a hook only in the process and thread that created it.

    See :doc:`/hook` and :doc:`/connection`.

    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``.
    :param timeout: seconds to wait for a response, and for each next part of a streamed response; by default 1260,
        slightly more than Baseten's own limit for a prediction.
    :param request_retries: how often, and for how long, a failed request is sent again if the model did not run; by
        default 8 attempts within an hour.

    :raises BasetenInputError: an argument is not valid.
    """

    conn_name_attr = "baseten_conn_id"
    default_conn_name = DEFAULT_CONN_ID
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
            raise BasetenInputError(f"baseten_conn_id={shown(baseten_conn_id)} is not the id of a connection.")
        check_seconds(timeout=timeout)
        if not isinstance(request_retries, RequestRetries | None):
            raise BasetenInputError(f"request_retries={shown(request_retries)} is not a RequestRetries.")
        self.baseten_conn_id = baseten_conn_id
        self._timeout = timeout
        self._request_retries = request_retries or RequestRetries()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the connection form, for Airflow 3.1; newer versions read the provider info."""
        return FIELD_BEHAVIOUR

    @cached_property
    def connection(self) -> BasetenConnection:
        """Credentials and settings of the connection, checked.

        :raises BasetenAuthError: the connection does not exist or has no API key.
        :raises BasetenInputError: a field of the connection is not valid.
        """
        return find_connection(self.baseten_conn_id)

    def client(self) -> Client:
        """Return a client with the credentials of the connection; close it, or use it in ``with``."""
        credentials = self.connection.credentials(self._timeout, self._request_retries)
        return Client(credentials, observer=AIRFLOW_OBSERVER)

    async def async_client(self) -> AsyncClient:
        """Return an async client for the running event loop; close it, or use it in ``async with``."""
        connection = await afind_connection(self.baseten_conn_id)
        credentials = connection.credentials(self._timeout, self._request_retries)
        return AsyncClient(credentials, observer=AIRFLOW_OBSERVER)

    @cached_property
    def _client(self) -> Client:
        return self.client()

    def predict(self, target: Target, model_input: Any, **options: Unpack[PredictOptions]) -> Any:
        """Run a model or chain and return its output; see
        :meth:`Client.predict() <airflow_provider_baseten.client.client.Client.predict>`.
        """
        self._report(target)
        return self._client.predict(target, model_input, **options)

    def sync_route(self, target: Target | ModelApis, route: str, **options: Unpack[RouteOptions]) -> Any:
        """Call a route of a custom server and return the decoded response; see
        :meth:`Client.sync_route() <airflow_provider_baseten.client.client.Client.sync_route>`.
        """
        self._report(target)
        return self._client.sync_route(target, route, **options)

    def async_predict(self, target: Target, model_input: Any, **options: Unpack[AsyncPredictOptions]) -> str:
        """Queue a prediction and return its request id; see
        :meth:`Client.async_predict() <airflow_provider_baseten.client.client.Client.async_predict>`.
        """
        self._report(target)
        return self._client.async_predict(target, model_input, **options)

    def _report(self, target: Target | ModelApis) -> None:
        """Report to Airflow's lineage that the task uses a model."""
        if isinstance(target, Target):
            report_input(self, asset_uri(target) or "")

    def get_async_request(self, target: Target, request_id: str) -> dict[str, Any]:
        """Return the status of an async request. The status never includes the output."""
        return self._client.get_async_request(target, request_id)

    def cancel_async_request(self, target: Target, request_id: str) -> bool:
        """Cancel an async request if it is still queued; return whether it was cancelled."""
        return self._client.cancel_async_request(target, request_id)

    def read_delivery(self, request_id: str) -> Any:
        """Return the output of an async request whose result was delivered to the result store of the connection.

        This costs nothing, and the result stays in the store, so it can be read again.

        :param request_id: id of the async request, for example from the event of a
            :class:`~airflow_provider_baseten.triggers.result.BasetenResultTrigger`.
        :raises BasetenInputError: the id is not valid.
        :raises BasetenAsyncRequestError: the request failed.
        :raises BasetenResultLostError: no result is stored, or the delivery has neither an output nor an error.
        :raises BasetenResultStoreError: the result can't be read.
        """
        check_request_id(request_id)
        store = ResultStore(self.connection.result_store)
        delivery = Deliveries(store).load(request_id)
        if delivery is None:
            raise BasetenResultLostError(
                f"The result of async request {request_id} is not in the result store {store.uri}: it has not been "
                "delivered, it was deleted, or this process does not see the store of the receiver.",
                request_id=request_id,
            )
        return delivery.output(self._quote)

    def _quote(self, words: str) -> str:
        return words[:1000] if self.connection.log_error_details else ""

    def wake(self, target: Target) -> None:
        """Start a replica of a deployment that has scaled to zero, without waiting until the replica is ready."""
        self._client.wake(target)

    def openai_client(self, target: Target | None = None, *, model_apis: bool = False) -> "OpenAI":
        """Return a client of the official OpenAI SDK; see
        :meth:`Client.openai() <airflow_provider_baseten.client.client.Client.openai>`.

        :param target: model with an OpenAI-compatible server; exactly one of ``target`` and ``model_apis`` is given.
        :param model_apis: whether the client is for Baseten's Model APIs; by default false.
        """
        return self._client.openai(openai_target(target, model_apis))

    def test_connection(self) -> tuple[bool, str]:
        """Check that the management API accepts each API key of the connection.

        The check changes nothing and costs nothing.

        :returns: whether the connection works, and a sentence that confirms it or names the error.
        """
        try:
            # Errors leave out the id of the connection, because Airflow tests the connection under a random id.
            connection = find_connection(self.baseten_conn_id, called="the connection")
            return check_keys(connection.credentials(self._timeout, self._request_retries))
        except BasetenError as error:
            return False, str(error)
