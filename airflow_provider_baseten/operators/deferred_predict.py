"""Deferred predict: a predict call that the triggerer sends for a task. The request and the response are in the result
store.
"""

from typing import TYPE_CHECKING, Any, Self

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenResponseError, BasetenResultStoreError
from airflow_provider_baseten.idempotency.deferred_call import DeferredCall
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.idempotency.ledger import fingerprint_request
from airflow_provider_baseten.operators.task_output import TaskOutput
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.outputs import predict_output_of
from airflow_provider_baseten.storage.result_store import ResultStore

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Sentence for the error message when a response has arrived, but can't be stored as the output of the task.
RESPONSE_STAYS = "The response stays in the result store: the next attempt reads it and sends nothing."


class DeferredPredict:
    """Predict call of a task instance in deferrable mode. A worker uses this class before and after the deferral.

    :param result_store: URI of the connection's result store, ``None`` for the default one.
    :param name: name of the call (the request and its response) in the result store.
    """

    def __init__(self, result_store: str | None, name: str) -> None:
        store = ResultStore(result_store)
        self.name = name
        self.store = store.uri
        self._call = DeferredCall(store, name)

    @classmethod
    def of_request(cls, context: "Context", request: Request, result_store: str | None) -> Self:
        """Return the predict call with which a task instance sends a request.

        All attempts find the call under the same name, until the task is cleared or the request changes.
        """
        return cls(result_store, identity_of(context).request_key(fingerprint_request(request)))

    def find_response(self, request: Request) -> Response | None:
        """Return the response if the trigger of an earlier attempt has stored a usable one.

        Otherwise store the request for a new trigger, and return ``None``.

        :raises BasetenResultStoreError: the result store can't be read or written.
        """
        with consequence("This attempt sent nothing."):
            found = self._call.response()
            if found is not None and _is_usable(found):
                return found
            if found is not None:
                self._call.drop_response()
            self._call.leave_request(request)
            return None

    def response(self) -> Response:
        """Return the response that the trigger has stored.

        :raises BasetenResultStoreError: the response is not in the result store of this worker.
        :raises BasetenError: the error that the trigger stored, if it stored one.
        """
        with consequence("The next attempt reads it again, and sends nothing if there is a response."):
            error = self._call.take_error()
            response = self._call.response() if error is None else None
        if error is not None:
            raise error
        if response is None:
            raise BasetenResultStoreError(
                "The trigger has ended, but its response is not in the result store of this worker: give worker and "
                "triggerer the same result_store."
            )
        return response

    def push(self, output: TaskOutput, response: Response) -> Any:
        """Push the extra XComs; return the output of the response, or a reference if the output goes to a file.

        A response that is not usable is deleted, so that the next attempt sends the request again.

        :param output: object that reads the response, pushes the XComs and stores large outputs.
        :param response: the response that the trigger has stored.
        :raises BasetenError: the response is not usable, or its output could not be stored.
        """
        try:
            with consequence(RESPONSE_STAYS):
                return output.push(response)
        except BasetenResponseError:
            self._call.drop_response()
            raise


def _is_usable(response: Response) -> bool:
    try:
        predict_output_of(response)
    except BasetenResponseError:
        return False
    return True
