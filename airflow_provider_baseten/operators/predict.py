"""Operator that runs a model or a chain and waits for its output."""

import codecs
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, get_args

from airflow_provider_baseten.api.http import JSON, ContentType, Request
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.arguments import check_choice, check_flags, check_is_there
from airflow_provider_baseten.compat import AirflowTaskTimeout, TaskDeferralTimeout
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.idempotency.orphans import ON_ORPHANED_REQUEST
from airflow_provider_baseten.operators.airflow_options import DecoratorOptions
from airflow_provider_baseten.operators.line_log import LineLog
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments, RequestOptions
from airflow_provider_baseten.waiting.deferral import deferral_timeout, is_of_former_trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.idempotency.held_response import HeldResponse
    from airflow_provider_baseten.idempotency.orphans import OnOrphanedRequest
    from airflow_provider_baseten.operators.deferred_predict import DeferredPredict
    from airflow_provider_baseten.operators.task_output import TaskOutput
    from airflow_provider_baseten.storage.encoding import Output


class PredictTaskOptions(RequestOptions, DecoratorOptions, total=False):
    """Arguments of the decorator: those of :class:`BasetenPredictOperator` except its input."""

    content_type: ContentType
    deferrable: bool
    on_orphaned_request: "OnOrphanedRequest"
    log_stream: bool


class BasetenPredictOperator(BasetenRequestOperator):
    """Run a model, or a chain's ``run_remote``, and return its output.

    The output goes to XCom. It is a JSON value, or the text of a streaming model; numpy arrays become lists. An output
    that is bytes, is larger than ``[baseten] xcom_max_bytes``, or has values that Airflow would refuse or change, such
    as NaN, is written to the result store of the connection instead. The task then returns a reference, which
    :func:`airflow_provider_baseten.storage.outputs.read_output` reads. The XCom ``request_id`` is pushed in addition.

    The task holds a worker slot while it waits. If the worker dies, Baseten loses the connection to it and cancels the
    work; the retry of the task sends the request again. If the output can't be stored, a small response is kept in
    Airflow's task state store (Airflow 3.3 and newer), and the next attempt uses it, see :doc:`/outputs`.

    With ``deferrable=True`` the triggerer sends the request and waits, and no worker slot is held. Input and output
    pass through the result store, which worker and triggerer must share. If the response has arrived, a retry uses it
    and does not pay again. If the triggerer dies while it waits, Baseten cancels the work, and ``on_orphaned_request``
    decides whether another triggerer sends the request again.

    The operator's other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param model_input: any JSON value but null, for a chain an object with the arguments of ``run_remote``; with
        ``content_type="application/octet-stream"`` any msgpack value, numpy arrays included. (templated, not shown
        among the rendered templates)
    :param content_type: ``application/json`` (default), or ``application/octet-stream`` for Truss's msgpack in
        request and response.
    :param deferrable: wait in the triggerer instead of on a worker; by default false.
    :param on_orphaned_request: what happens to a deferred predict whose trigger has ended without a response:
        ``resubmit`` (default) sends the request again and logs a warning, ``fail`` raises
        ``BasetenOrphanedRequestError``.
    :param log_stream: log the lines of a streaming model's output as they arrive; by default false. It can't be
        combined with ``deferrable``.

    :raises BasetenError: a subclass for each kind of failure, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/inference/calling-your-model
    """

    template_fields = (*BasetenRequestOperator.template_fields, "model_input")
    hidden_fields = (*BasetenRequestOperator.hidden_fields, "model_input")
    native_fields = (*BasetenRequestOperator.native_fields, "model_input")

    def __init__(
        self,
        *,
        model_input: Any,
        content_type: ContentType = JSON,
        deferrable: bool = False,
        on_orphaned_request: "OnOrphanedRequest" = "resubmit",
        log_stream: bool = False,
        **kwargs: Unpack[RequestArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_is_there(model_input=model_input)
        check_choice("on_orphaned_request", on_orphaned_request, ON_ORPHANED_REQUEST)
        check_choice("content_type", content_type, get_args(ContentType))
        check_flags(deferrable=deferrable, log_stream=log_stream)
        if deferrable and log_stream:
            raise BasetenInputError(
                "log_stream needs a worker that waits for the response: remove log_stream or deferrable."
            )
        self.deferrable = deferrable
        self.on_orphaned_request = on_orphaned_request
        self.model_input = model_input
        self.content_type = content_type
        self.log_stream = log_stream
        self._is_late_in_triggerer = False

    def build_request(self) -> Request:
        """Check the rendered arguments, and return the predict request.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        check_is_there(model_input=self.model_input)
        return build_predict(
            self.target,
            self.model_input,
            content_type=self.content_type,
            headers=self.headers,
            idempotent=self.idempotent,
        )

    def read_response(self, response: "Response") -> "Output":
        """Return the model's output, decoded."""
        from airflow_provider_baseten.storage.outputs import predict_output_of

        return predict_output_of(response)

    def get_response(self, context: "Context", client: "Client", request: Request, output: "TaskOutput") -> "Response":
        """Send the request and return the response. With ``deferrable``, defer the task instead.

        If the trigger of an earlier attempt has stored a response, return that response and send nothing.
        """
        from airflow_provider_baseten.operators.deferred_predict import DeferredPredict

        if not self.deferrable:
            return super().get_response(context, client, request, output)
        predict = DeferredPredict.of_request(context, request, output.result_store)
        response = predict.find_response(request)
        if response is None:
            self.log.info("Deferred: the triggerer will call %s.", request.subject)
            self._defer(predict)
        return response

    def execute_complete(self, context: "Context", event: dict[str, Any], name: str | None = None) -> Any:
        """Read the response that the trigger wrote to the result store, and return its output.

        :param event: event of the trigger: ``{"name"}``, the name of the call.
        :param name: name of the call that the task waits for; ``None`` in ``dag.test()``, which does not pass it.
        :raises BasetenResultStoreError: the response is not in the result store of this worker.
        :raises BasetenError: the trigger stored this error.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.operators.deferred_predict import DeferredPredict
        from airflow_provider_baseten.operators.task_output import TaskOutput

        self.normalize_paths()
        result_store = BasetenHook(self.baseten_conn_id).connection.result_store
        if name is not None and is_of_former_trigger(name, event["name"], self.log):
            self._defer(DeferredPredict(result_store, name))
        predict = DeferredPredict(result_store, event["name"])
        response = predict.response()
        self.log.info("Resumed: the triggerer has received the response of %s.", response.request.subject)
        return predict.push(TaskOutput(self, context, result_store), response)

    def keep_response(self, held: "HeldResponse", response: "Response") -> str:
        """Keep a response whose output could not be stored, so that the next attempt can use it.

        With ``deferrable`` this method keeps nothing: the trigger has already written the response to the result store.

        Return a sentence on what the next attempt does.
        """
        from airflow_provider_baseten.operators.deferred_predict import RESPONSE_STAYS

        return RESPONSE_STAYS if self.deferrable else super().keep_response(held, response)

    def _defer(self, predict: "DeferredPredict") -> NoReturn:
        from airflow_provider_baseten.triggers.predict import BasetenPredictTrigger

        trigger = BasetenPredictTrigger(
            baseten_conn_id=self.baseten_conn_id,
            store=predict.store,
            name=predict.name,
            timeout=self.timeout,
            on_orphaned_request=self.on_orphaned_request,
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={"name": predict.name},
            timeout=deferral_timeout(self.execution_timeout),
        )

    def resume_task(self, call: "Callable[[], Any]") -> Any:
        """Continue after the deferral.

        :raises AirflowTaskTimeout: ``execution_timeout`` has passed during the deferral. Airflow itself raises
            ``TaskDeferralTimeout`` in this case. This method replaces that exception, so that a timeout is the same
            error with and without ``deferrable``.
        """
        try:
            return super().resume_task(call)
        except TaskDeferralTimeout:
            self._is_late_in_triggerer = True
            raise AirflowTaskTimeout from None

    def timeout_note(self) -> str:
        """Return sentences on what happens to the request if the task ends before the response has arrived."""
        if not self._is_late_in_triggerer:
            return super().timeout_note()
        again = "it sends the request again" if self.on_orphaned_request == "resubmit" else "it fails"
        return (
            f"The triggerer has stopped waiting for predict of {self.target}: Baseten cancels the work, but the model "
            "may still run and be billed (the request has no id before the response). The next attempt uses a "
            f"response that has arrived; otherwise {again}."
        )

    def send(self, context: "Context", client: "Client", request: Request) -> "Response":
        """Send the request and return the response. With ``log_stream``, log each line of the stream as it arrives."""
        if not self.log_stream:
            return client.send(request)
        lines, decoder = LineLog(self.log.info), codecs.getincrementaldecoder("utf-8")(errors="replace")
        try:
            return client.send(request, lambda chunk: lines.add(decoder.decode(chunk)))
        finally:
            lines.close()
