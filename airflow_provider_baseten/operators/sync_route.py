"""Operator that calls a route of a custom server."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_baseten.api import sync_route
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.arguments import check_functions, check_texts, given
from airflow_provider_baseten.callables import raised
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
    """Call a route of a custom server, below ``/sync/`` of the model or chain, and return the decoded response.

    The Content-Type of the response decides how it is decoded: JSON as a value, text as text, anything else as bytes.
    The output goes to XCom. An output that is bytes, is larger than ``[baseten] xcom_max_bytes``, or has values that
    Airflow would refuse or change, is written to the result store of the connection instead. The task then returns a
    reference, which :func:`airflow_provider_baseten.storage.outputs.read_output` reads. The XCom ``request_id`` is
    pushed in addition.

    The task holds a worker slot while it waits. A retry of the task sends the request again, with one exception: if the
    output can't be stored, a small response is kept in Airflow's task state store (Airflow 3.3 and newer), and the next
    attempt uses it, see :doc:`/outputs`. Within an attempt, GET, HEAD and OPTIONS requests count as idempotent.

    The other arguments of the operator are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``,
    ``regional``, ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and
    Airflow's own.

    :param route: path on the server, for example ``v1/embeddings``. (templated)
    :param method: HTTP method, by default ``GET``. (templated)
    :param json: JSON body; at most one of ``json`` and ``data`` is given. (templated, not shown among the rendered
        templates)
    :param data: text or bytes of the body; set its ``Content-Type`` in ``headers``. (templated, not shown)
    :param query_params: query parameters by name; a list repeats the parameter, ``None`` omits it. (templated, not
        shown)
    :param allowed_statuses: HTTP statuses besides 2xx that do not count as errors, for example ``[404]``; by default
        none.
    :param response_check: function that takes the :class:`~airflow_provider_baseten.api.responses.Response`; the task
        fails if the function returns a false value. By default there is no check.
    :param response_filter: function that takes the response and returns the output: bytes, text or JSON. If the
        function raises an exception, the response is saved in the result store, and the task fails without a retry,
        because a retry would pay again. By default the output is the decoded response.

    :raises BasetenError: a subclass for each kind of failure, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    template_fields = (*BasetenRequestOperator.template_fields, "route", "method", "json", "data", "query_params")
    hidden_fields = (*BasetenRequestOperator.hidden_fields, "json", "data", "query_params")
    native_fields = (*BasetenRequestOperator.native_fields, "json")

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
        """Check the rendered arguments, and return the request.

        :raises BasetenInputError: a rendered argument is not valid.
        """
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
        """Check the response, and return its output: what ``response_filter`` returns, or the decoded response.

        :raises BasetenResponseError: ``response_check`` refused the response.
        :raises BasetenInputError: ``response_check`` or ``response_filter`` raised an exception, or the return value of
            ``response_filter`` can't be stored.
        """
        from airflow_provider_baseten.storage.encoding import Output
        from airflow_provider_baseten.storage.outputs import output_of

        if self.response_check is not None and not _call("response_check", self.response_check, response):
            raise BasetenResponseError(
                f"{response.request.subject} responded with {response.status}, but response_check refused the response"
                f"{id_note(response.request_id)}.",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            )
        if self.response_filter is None:
            return output_of(response)
        filtered = _call("response_filter", self.response_filter, response)
        try:
            return Output.of_value(filtered)
        except BasetenOutputError as error:
            raise BasetenInputError(
                f"The return value of response_filter can't be stored: {error}",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            ) from None


def _call(name: str, function: Callable[["Response"], Any], response: "Response") -> Any:
    """Call a function that the DAG author has passed.

    If the function raises an exception, this function raises an error that is not retried, because each retry would be
    charged for, and would fail in the same way. Exceptions of Airflow and of this package are not changed.
    """
    try:
        return function(response.in_memory())
    except (AirflowException, BasetenError):
        # The DAG author's function may raise an error of Airflow or of this package to decide how the task ends. For
        # example, AirflowSkipException skips the task.
        raise
    except Exception as error:
        raise BasetenInputError(
            f"{name} {raised(error)} for the response of {response.request.subject}{id_note(response.request_id)}.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        ) from error
