"""Task output: the output of a response as the XCom of a task."""

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenError, BasetenOutputError
from airflow_provider_baseten.storage import files, outputs
from airflow_provider_baseten.storage.result_store import ResultStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.operators.request import BasetenRequestOperator

# Airflow puts XCom keys into URLs without escaping them, so only these characters are allowed.
_XCOM_KEY = re.compile(r"[\w.~ -]{1,512}")


class TaskOutput:
    """The output of a task that sends one request: where it is stored, and what the task returns.

    :param operator: operator of the task; it reads the response.
    :param context: context of the task.
    :param result_store: URI of the connection's result store, ``None`` for the default one.
    """

    def __init__(self, operator: "BasetenRequestOperator", context: "Context", result_store: str | None) -> None:
        self.result_store = result_store
        self._operator = operator
        self._context = context

    def check_storage(self) -> None:
        """Check that the output can be stored, before anything is sent.

        :raises BasetenResultStoreError: the output can't be stored.
        """
        store = ResultStore(self.result_store)
        with files.consequence("Nothing was sent."):
            if self._operator.output_path:
                files.check_writable(self._operator.output_path)
                store.signing_keys(create=True)
            elif self._operator.do_xcom_push:
                store.prepare("The result store")

    def push(self, response: Response) -> Any:
        """Push the extra XComs, check the response, and return its output or a reference to the output.

        A response that is not usable is saved in the result store, because it was charged for.

        :raises BasetenError: the response is not usable, or its output could not be stored.
        """
        operator = self._operator
        if operator.do_xcom_push:
            for key, value in operator.extra_xcoms(response).items():
                if outputs.is_xcom_safe(value):
                    self._context["ti"].xcom_push(key=key, value=value)
        try:
            output = operator.read_response(response)
            is_returned = output.value is not None and not operator.output_path and outputs.xcom_holds(output)
            if operator.multiple_outputs and is_returned:
                _check_fields(output.value, response)
        except BasetenError as error:
            if not error.may_have_run:
                raise
            raise with_note(error, outputs.save_response(response, self.result_store)) from error.__cause__
        returned = None
        if operator.do_xcom_push or operator.output_path:
            returned = outputs.save_output(
                output,
                response.request_id,
                output_path=operator.output_path,
                result_store=self.result_store,
                baseten_conn_id=operator.baseten_conn_id,
            )
        operator.finish(self._context, operator.summarize(response, outputs.stored_uris(returned)))
        return returned


def with_note(error: BasetenError, note: str) -> BasetenError:
    """Return the error, with a sentence added to its message."""
    error.args = (f"{error} {note}".strip(), *error.args[1:])
    return error


def _check_fields(value: Any, response: Response) -> None:
    """Check an output for ``multiple_outputs``: it must be an object, and each field name must be usable as XCom key.

    Airflow pushes the fields one by one. Without this check it would push some fields, and then fail at the first name
    that can't be a key.
    """
    if isinstance(value, dict) and all(map(_XCOM_KEY.fullmatch, value)):
        return
    problem = "has field names that can't be XCom keys" if isinstance(value, dict) else "is not an object"
    raise BasetenOutputError(
        f"The output of {response.request.subject} {problem}, so multiple_outputs can't push its fields"
        f"{id_note(response.request_id)}: remove multiple_outputs and use the output as a whole.",
        request_id=response.request_id,
        may_have_run=True,
    )
