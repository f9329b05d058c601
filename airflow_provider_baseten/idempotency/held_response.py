"""Held response: a paid response that could not be stored, kept in Airflow's task state store for the next attempt.

A held response prevents a second payment when the result store fails after the response has arrived. A response can't
always be kept, because the task state store exists only in Airflow 3.3 and newer, and takes only small responses.
"""

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.compat import task_state_store
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.idempotency.identity import identity_of
from airflow_provider_baseten.idempotency.ledger import fingerprint_request
from airflow_provider_baseten.idempotency.record_fields import known_fields

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request

_KEY = "baseten_held_response"
_MAX_BYTES = 60_000

_VERSION = 1
_FIELDS = {"request_key": str, "status": int, "headers": dict, "body": str}


class HeldResponse:
    """Paid response that an attempt kept in the task state store, because the output could not be stored.

    A retry finds the response only if its request is the same, and the task was not cleared meanwhile. A retry that
    finds no response sends its request.

    :param context: context of the task.
    :param request: request of this attempt.
    """

    def __init__(self, context: "Context", request: "Request") -> None:
        ti: Any = context["ti"]
        self._states: Any = task_state_store(context)
        self._request = request
        self._is_retry = ti.try_number > 1
        self._key = identity_of(context).request_key(fingerprint_request(request))
        self._found = False

    def find(self) -> Response | None:
        """Return the response that an earlier attempt kept, ``None`` if there is none.

        :raises BasetenResultStoreError: the task state store can't be read, or the record of the response is damaged.
        """
        if self._states is None or not self._is_retry:
            return None
        try:
            held = self._states.get(_KEY)
        except Exception as error:
            raise BasetenResultStoreError(
                f"The task state store can't be read ({type(error).__name__}). Nothing was sent; a retry reads it "
                "again."
            ) from error
        if not isinstance(held, dict) or held.get("request_key") != self._key:
            return None
        fields = known_fields(held, _FIELDS)
        try:
            body = None if fields is None else b64decode(fields["body"], validate=True)
        except ValueError:
            body = None
        if fields is None or body is None:
            raise BasetenResultStoreError(
                f"The response that an earlier attempt kept in the task state store ({_KEY}) is damaged. Nothing was "
                "sent. Clear the task to send its request again."
            )
        self._found = True
        return Response(request=self._request, status=fields["status"], headers=fields["headers"], body=body)

    def keep(self, response: Response) -> bool:
        """Keep a response if it is small enough; return whether it was kept."""
        if self._states is None or response.size > _MAX_BYTES:
            return False
        held = {
            "request_key": self._key,
            "status": response.status,
            "headers": dict(response.headers),
            "body": b64encode(response.body).decode(),
            "version": _VERSION,
        }
        if len(json.dumps(held)) > _MAX_BYTES:
            return False
        try:
            self._states.set(_KEY, held)
        except Exception:
            # The error of this write is not raised, because the caller is already handling an error of the result
            # store. The caller raises the error of the result store, with a note that the response is lost.
            return False
        return True

    def delete(self) -> None:
        """Delete the response that :meth:`find` returned, because its output is now stored.

        If the response can't be deleted, it stays until Airflow cleans up the task state store, by default after 30
        days.
        """
        if self._found:
            try:
                self._states.delete(_KEY)
            except Exception:
                return
