"""What all operators that call a model or a chain share."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Required, TypedDict, Unpack, cast

from airflow.sdk import BaseOperator

from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import READ_TIMEOUT, Request
from airflow_provider_baseten.api.target import Target, require_one_target
from airflow_provider_baseten.arguments import check_flags, check_paths, check_seconds, check_texts, given, path_text
from airflow_provider_baseten.client.call_log import CallLog
from airflow_provider_baseten.exceptions import BasetenError, BasetenOutputError, BasetenResultStoreError
from airflow_provider_baseten.links import HasLink
from airflow_provider_baseten.operators.airflow_options import TaskOptions
from airflow_provider_baseten.operators.failures import ReportsFailures
from airflow_provider_baseten.operators.rendering import RendersFields
from airflow_provider_baseten.operators.signatures import NamesArguments
from airflow_provider_baseten.policies import checked_policy
from airflow_provider_baseten.storage import files, outputs

if TYPE_CHECKING:
    from os import PathLike

    from airflow.sdk import Context

    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.compat import RetryPolicy
    from airflow_provider_baseten.idempotency.held_response import HeldResponse
    from airflow_provider_baseten.storage.encoding import Output

# Airflow makes them parts of a URL without escaping.
_XCOM_KEY = re.compile(r"[\w.~ -]{1,512}")


class TargetOptions(TypedDict, total=False):
    """Arguments of every operator; see :class:`BasetenOperator`."""

    model_id: str | None
    chain_id: str | None
    environment: str | None
    deployment_id: str | None
    regional: bool
    headers: Mapping[str, str] | None
    baseten_conn_id: str
    retry_policy: "RetryPolicy | None"


class OutputOptions(TargetOptions, total=False):
    """Arguments of operators whose output may be written to a file; see :class:`BasetenOperator`."""

    output_path: "str | PathLike[str] | None"


class CallOptions(OutputOptions, total=False):
    """Arguments of operators that send one request; see :class:`BasetenCallOperator`."""

    timeout: float
    idempotent: bool


class TargetArguments(TargetOptions, TaskOptions, total=False):
    """What an operator hands on to its base; see :class:`BasetenOperator`."""

    task_id: Required[str]


class OutputArguments(OutputOptions, TaskOptions, total=False):
    """What an operator hands on to its base; see :class:`BasetenOperator`."""

    task_id: Required[str]


class CallArguments(CallOptions, TaskOptions, total=False):
    """What an operator hands on to its base; see :class:`BasetenCallOperator`."""

    task_id: Required[str]


class BasetenOperator(NamesArguments, RendersFields, ReportsFailures, HasLink, BaseOperator):
    """Calls a model or a chain.

    Exactly one of ``model_id`` and ``chain_id`` is given, and at most one of ``environment`` and ``deployment_id``.

    :param model_id: id of the model. (templated)
    :param chain_id: id of the chain. (templated)
    :param environment: environment that answers, by default ``production``; ``development`` is the development
        deployment. (templated)
    :param deployment_id: deployment that answers, instead of an environment. (templated)
    :param regional: put the environment into the host name, which keeps the request in its region; by default false.
    :param headers: further HTTP headers. (templated, not shown among the rendered templates)
    :param output_path: URI of a file that the output is written to, for example
        ``s3://conn@bucket/{{ dag_run.run_after | ds }}.json``, or, with a trailing slash, of a folder. The task then
        returns a reference to it, which :func:`airflow_provider_baseten.storage.outputs.read_output` reads. (templated)
    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``. (templated)
    :param retry_policy: what happens to a failure, by default
        :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy`.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "chain_id",
        "environment",
        "deployment_id",
        "headers",
        "output_path",
        "baseten_conn_id",
    )
    payload_fields: ClassVar[tuple[str, ...]] = ("headers",)
    ui_color = "#e3f4e1"

    def __init__(
        self,
        *,
        task_id: str,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        regional: bool = False,
        headers: Mapping[str, str] | None = None,
        output_path: "str | PathLike[str] | None" = None,
        baseten_conn_id: str = "baseten_default",
        retry_policy: "RetryPolicy | None" = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        check_texts(
            **given(
                model_id=model_id,
                chain_id=chain_id,
                environment=environment,
                deployment_id=deployment_id,
                baseten_conn_id=baseten_conn_id,
            )
        )
        check_paths(**given(output_path=output_path))
        # Not an argument of Airflow below 3.3.
        self.retry_policy = checked_policy(retry_policy)
        self.model_id = model_id
        self.chain_id = chain_id
        self.environment = environment
        self.deployment_id = deployment_id
        self.regional = regional
        self.headers = headers
        self.output_path = cast("str | None", output_path)  # Of another path, take_output_path makes a text.
        self.baseten_conn_id = baseten_conn_id
        check_flags(regional=regional)
        self.check_target()

    def check_target(self) -> None:
        """Check that the arguments name one thing; their values may still be templates.

        :raises BasetenInputError: they name nothing, or contradict each other.
        """
        require_one_target(self.model_id, self.chain_id, self.environment, self.deployment_id)

    @property
    def target_arguments(self) -> dict[str, Any]:
        """What is called, as the keyword arguments of a target."""
        return {
            "model_id": self.model_id,
            "chain_id": self.chain_id,
            "environment": self.environment,
            "deployment_id": self.deployment_id,
            "regional": self.regional,
        }

    @property
    def target(self) -> Target:
        """Model or chain.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(**self.target_arguments)

    def take_output_path(self) -> None:
        """Make a text of the rendered ``output_path``.

        :raises BasetenInputError: it is no path or URI.
        """
        if self.output_path is not None:
            self.output_path = path_text("output_path", self.output_path)


class BasetenCallOperator(BasetenOperator):
    """Sends one request to a model or a chain, waits for the answer and hands it to XCom.

    :param timeout: seconds to wait for the answer, and for each further part of a streamed one; by default 1260, which
        is longer than Baseten lets a predict run.
    :param idempotent: whether it may be sent again when the model may have run, and been paid for: after a read
        timeout, a lost connection, 500 and 504. By default only what did not run is sent again.

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
        """Build and check the request; nothing is sent yet."""
        raise NotImplementedError

    def read_response(self, response: "Response") -> "Output":
        """Check and decode the answer."""
        raise NotImplementedError

    def notes(self, response: "Response") -> dict[str, Any]:
        """Return what is pushed to XCom beside the output, by key; also when the output turns out to be unusable."""
        return {"request_id": response.request_id} if response.request_id else {}

    def execute(self, context: "Context") -> Any:
        """Send the request, store what XCom does not hold, return the output or a reference to it.

        A retry of the task sends the request again, unless the earlier attempt had the answer and could not store it.
        """
        from airflow_provider_baseten.hooks.baseten import BasetenHook
        from airflow_provider_baseten.idempotency.held_response import HeldResponse
        from airflow_provider_baseten.idempotency.ledger import fingerprint

        self.take_output_path()
        hook = BasetenHook(self.baseten_conn_id, timeout=self.timeout)
        request = self.build_request()
        result_store = hook.connection.result_store
        self._check_places(result_store)
        held = HeldResponse(context, request, fingerprint(request))
        response = held.find()
        if response is None:
            with hook.client() as client:
                response = self.answer(context, client, request, result_store)
        try:
            returned = self.hand_over(context, response, result_store)
        except BasetenResultStoreError as error:
            raise _extended(error, self.hold(held, response)) from error.__cause__
        held.delete()
        return returned

    def hold(self, held: "HeldResponse", response: "Response") -> str:
        """Keep a response that could not be stored; return what the next attempt does."""
        if held.keep(response):
            return "The response is kept in the task state: the next attempt stores it and sends nothing."
        return "The response is lost: another attempt sends the request, and pays, again."

    def answer(self, context: "Context", client: "Client", request: Request, result_store: str | None) -> "Response":
        """Send the request, log it and return the answer."""
        self._call = call = CallLog(self.log, request)
        self._client = client
        response = self.send(context, client, request)
        call.answered(response)
        return response

    def what_was_sent(self) -> str:
        """Say what becomes of the request if the task ends while it waits for the answer."""
        if self._call is None or self._client is None:
            return super().what_was_sent()
        return self._call.broken_off(self._client.attempt_in_flight)

    def send(self, context: "Context", client: "Client", request: Request) -> "Response":
        """Send the request and return the response."""
        return client.send(request)

    def hand_over(self, context: "Context", response: "Response", result_store: str | None) -> Any:
        """Push what is noted beside the output, check the answer, and return it or a reference to where it is.

        An answer that can't be used is saved in the result store, for it was paid.
        """
        pass

        if self.do_xcom_push:
            for key, value in self.notes(response).items():
                if outputs.is_xcom_safe(value):
                    context["ti"].xcom_push(key=key, value=value)
        try:
            output = self.read_response(response)
            is_returned = output.value is not None and not self.output_path and outputs.xcom_holds(output)
            if self.multiple_outputs and is_returned:
                _check_fields(output.value, response)
        except BasetenError as error:
            if not error.may_have_run:
                raise
            raise _extended(error, outputs.save_response(response, result_store)) from error.__cause__
        if not self.do_xcom_push and not self.output_path:
            return None
        return outputs.to_xcom(
            output,
            response.request_id,
            output_path=self.output_path,
            result_store=result_store,
            baseten_conn_id=self.baseten_conn_id,
        )

    def _check_places(self, result_store: str | None) -> None:
        """Find out before anything is sent whether the output could be stored."""
        from airflow_provider_baseten.storage.result_store import ResultStore

        store = ResultStore(result_store)
        with files.consequence("Nothing was sent."):
            if self.output_path:
                files.check_writable(self.output_path)
                store.signing_keys(create=True)
            elif self.do_xcom_push:
                store.prepare("The result store")


def _check_fields(value: Any, response: "Response") -> None:
    """Check that each field of an output can be an XCom of its own, before Airflow pushes some of them and fails."""
    if isinstance(value, dict) and all(map(_XCOM_KEY.fullmatch, value)):
        return
    what = "has fields whose names can't be keys of XComs" if isinstance(value, dict) else "is not an object"
    raise BasetenOutputError(
        f"The output of {response.request.subject} {what}, as multiple_outputs needs"
        f"{id_note(response.request_id)}: leave multiple_outputs out and take the output as a whole.",
        request_id=response.request_id,
        may_have_run=True,
    )


def _extended(error: BasetenError, note: str) -> BasetenError:
    error.args = (f"{error} {note}".strip(), *error.args[1:])
    return error
