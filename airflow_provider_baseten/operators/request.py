"""Base class of the operators that send one request and wait for its response."""

from typing import TYPE_CHECKING, Any, Required, Unpack

from airflow_provider_baseten.activity.task_summary import TaskSummary, token_counts
from airflow_provider_baseten.api.http import READ_TIMEOUT, Request
from airflow_provider_baseten.arguments import check_flags, check_seconds
from airflow_provider_baseten.client.call_log import CallLog
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.operators.airflow_options import TaskOptions
from airflow_provider_baseten.operators.base import BasetenCallOperator, OutputArguments, OutputOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.idempotency.held_response import HeldResponse
    from airflow_provider_baseten.operators.task_output import TaskOutput
    from airflow_provider_baseten.storage.encoding import Output


class RequestOptions(OutputOptions, total=False):
    """Arguments of operators that send one request; see :class:`BasetenRequestOperator`."""

    timeout: float
    idempotent: bool


class RequestArguments(RequestOptions, TaskOptions, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenRequestOperator`."""

    task_id: Required[str]


class BasetenRequestOperator(BasetenCallOperator):
    """Base of operators that send one request to a model or a chain, and return the output in the response.

    :param timeout: seconds to wait for the response, and for each further part of a streamed response; by default 1260,
        slightly more than Baseten's own limit for a predict.
    :param idempotent: whether the request may be sent again after a read timeout, a lost connection, status 500 or
        status 504. In these cases the model may have run, and each request may be charged for. By default the request
        is sent again only if the model did not run.

    https://docs.baseten.co/inference/calling-your-model
    """

    def __init__(
        self, *, timeout: float = READ_TIMEOUT, idempotent: bool = False, **kwargs: Unpack[OutputArguments]
    ) -> None:
        super().__init__(**kwargs)
        check_seconds(timeout=timeout)
        check_flags(idempotent=idempotent)
        self.timeout = timeout
        self.idempotent = idempotent
        self._call: CallLog | None = None
        self._client: Client | None = None

    def build_request(self) -> Request:
        """Check the rendered arguments, and return the request. Nothing is sent yet.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        raise NotImplementedError

    def read_response(self, response: "Response") -> "Output":
        """Return the output in a response.

        :raises BasetenError: the response is not usable.
        """
        raise NotImplementedError

    def extra_xcoms(self, response: "Response") -> dict[str, Any]:
        """Return the additional XComs by key. They are pushed even if the output is not usable."""
        return {"request_id": response.request_id} if response.request_id else {}

    def summarize(self, response: "Response", output_uris: tuple[str, ...]) -> TaskSummary:
        """Return what the task has done.

        :param output_uris: URI of the output, if it is in a file.
        """
        return TaskSummary(
            target=self.called_target,
            model=getattr(self, "model", None),
            request_ids=(response.request_id,) if response.request_id else (),
            requests=1,
            tokens=token_counts(self.extra_xcoms(response).get("usage")),
            outputs=output_uris,
        )

    def run_task(self, context: "Context") -> Any:
        """Send the request, and return the output or a reference to it.

        If the output can't be stored, the attempt tries to keep the response in Airflow's task state store. A retry
        then uses the kept response and sends nothing. If no response was kept, the retry sends the request again.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.idempotency.held_response import HeldResponse
        from airflow_provider_baseten.operators.task_output import TaskOutput, with_note

        self.normalize_paths()
        hook = BasetenHook(self.baseten_conn_id, timeout=self.timeout)
        request = self.build_request()
        output = TaskOutput(self, context, hook.connection.result_store)
        output.check_storage()
        held = HeldResponse(context, request)
        response = held.find()
        if response is None:
            with hook.client() as client:
                response = self.get_response(context, client, request, output)
        try:
            returned = output.push(response)
        except BasetenResultStoreError as error:
            raise with_note(error, self.keep_response(held, response)) from error.__cause__
        held.delete()
        return returned

    def keep_response(self, held: "HeldResponse", response: "Response") -> str:
        """Keep a response whose output could not be stored, so that the next attempt can use it.

        The response is kept in Airflow's task state store, if possible.

        Return a sentence on what the next attempt does.
        """
        if held.keep(response):
            return "The response is kept in the task state store: the next attempt stores it and sends nothing."
        return "The response is lost: the next attempt sends the request again, and pays again."

    def get_response(self, context: "Context", client: "Client", request: Request, output: "TaskOutput") -> "Response":
        """Send the request and return the response; log both."""
        self._call = call = CallLog(self.log, request)
        self._client = client
        response = self.send(context, client, request)
        call.log_response(response)
        return response

    def timeout_note(self) -> str:
        """Return sentences on what happens to the request if the task ends while it waits for the response."""
        if self._call is None or self._client is None:
            return super().timeout_note()
        return self._call.describe_interruption(self._client.attempt_in_flight)

    def send(self, context: "Context", client: "Client", request: Request) -> "Response":
        """Send the request and return the response."""
        return client.send(request)
