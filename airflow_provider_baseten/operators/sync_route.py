"""Calls a route of a custom server."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.api import sync_route
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.arguments import check_functions, check_texts, given
from airflow_provider_baseten.compat import AirflowException
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenOutputError,
    BasetenResponseError,
)
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments

if TYPE_CHECKING:
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.storage.encoding import Output


class BasetenSyncRouteOperator(BasetenRequestOperator):
    """Call any route of a custom server behind ``/sync/`` and return its answer.

    The answer goes to XCom by its Content-Type: JSON as its value, text as text. Bytes, what is larger than
    ``[baseten] xcom_max_bytes``, and what Airflow would refuse or change, are written to the result store and returned
    as a reference. The request's id is pushed beside it as ``request_id``.

    Holds a worker slot while it waits. A retry of the task sends the request again.

    Its other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param route: path on the server, for example ``v1/embeddings``. (templated)
    :param method: HTTP method, by default ``GET``. (templated)
    :param json: JSON body; at most one of ``json`` and ``data``. (templated, not shown among the rendered templates)
    :param data: text or bytes as the body; set its ``Content-Type`` in ``headers``. (templated, not shown)
    :param query_params: query parameters; a list repeats its name, ``None`` leaves one out. (templated, not shown)
    :param allowed_statuses: statuses besides 2xx that count as an answer, for example ``[404]``.
    :param response_check: called with the :class:`~airflow_provider_baseten.api.responses.Response`; the task fails if
        it returns something false.
    :param response_filter: called with the response; what it returns, bytes, text or JSON, takes the place of the
        decoded answer. If it raises, the task fails without another attempt, which would pay again, and the answer is
        saved in the result store.

    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    template_fields = (*BasetenRequestOperator.template_fields, "route", "method", "json", "data", "query_params")
    payload_fields = (*BasetenRequestOperator.payload_fields, "json", "data", "query_params")

    def __init__(
        self,
        *,
        route: str,
        method: str = "GET",
        json: Any = None,
        data: bytes | str | None = None,
        query_params: Mapping[str, Any] | None = None,
        allowed_statuses: Collection[int] = (),
        response_check: Callable[["Response"], object] | None = None,
        response_filter: Callable[["Response"], Any] | None = None,
        **kwargs: Unpack[RequestArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_texts(**given(route=route, method=method))
        check_functions(response_check=response_check, response_filter=response_filter)
        sync_route.checked_statuses(allowed_statuses)
        self.route = route
        self.method = method
        self.json = json
        self.data = data
        self.query_params = query_params
        self.allowed_statuses = allowed_statuses
        self.response_check = response_check
        self.response_filter = response_filter

    def build_request(self) -> Request:
        """Build and check the call."""
        return build_sync_route(
            self.target,
            self.route,
            method=self.method,
            json=self.json,
            data=self.data,
            params=self.query_params,
            headers=self.headers,
            allowed_statuses=self.allowed_statuses,
            idempotent=self.idempotent,
        )

    def read_response(self, response: "Response") -> "Output":
        """Check the answer, and decode or filter it.

        :raises BasetenResponseError: ``response_check`` refused it.
        :raises BasetenInputError: ``response_check`` or ``response_filter`` raised, or what the filter returned can't
            be stored.
        """
        from airflow_provider_baseten.storage.encoding import Output
        from airflow_provider_baseten.storage.outputs import output_of

        if self.response_check is not None and not self._called("response_check", self.response_check, response):
            raise BasetenResponseError(
                f"{response.request.subject} answered {response.status}, but response_check refused the answer "
                f"(request id {response.request_id}).",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            )
        if self.response_filter is None:
            return output_of(response)
        filtered = self._called("response_filter", self.response_filter, response)
        try:
            return Output.of_value(filtered)
        except BasetenOutputError as error:
            raise BasetenInputError(
                f"What response_filter returned can't be stored: {error}",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            ) from None

    def _called(self, name: str, function: Callable[["Response"], Any], response: "Response") -> Any:
        """Call a function of the DAG's author; one that fails does so in each attempt, which must not pay each time."""
        try:
            return function(response.in_memory())
        except (AirflowException, BasetenError):  # Skips the task, or fails it as its author wants.
            raise
        except Exception as error:
            raise BasetenInputError(
                f"{name} raised {type(error).__name__} for the answer of {response.request.subject}"
                f"{id_note(response.request_id)}.",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            ) from error
