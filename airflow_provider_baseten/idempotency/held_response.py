"""Answer that was paid and could not be stored: kept in the task state store for the next attempt of the same request.

A last resort: Airflow's database takes only a small one, and only since Airflow 3.3.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.exceptions import BasetenResultStoreError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request

_KEY = "baseten_held_answer"
_MOST_BYTES = 60_000


class HeldAnswer:
    """The answer to one request of a task instance, if an attempt had to hold it.

    An answer to another request, or from before a clear, which raises ``max_tries``, is not found.

    :param context: of the task.
    :param request: what the task sends.
    """

    def __init__(self, context: "Context", request: "Request") -> None:
        ti: Any = context["ti"]
        self._states: Any = context.get("task_state_store")
        self._request = request
        self._is_retry = ti.try_number > 1
        content = f"{ti.max_tries} {request.method} {request.host}{request.path}\n".encode() + (request.body or b"")
        self._fingerprint = hashlib.sha256(content).hexdigest()
        self._found = False

    def find(self) -> Response | None:
        """Return the answer that an earlier attempt held.

        :raises BasetenResultStoreError: the task state store can't be read.
        """
        if self._states is None or not self._is_retry:
            return None
        try:
            held = self._states.get(_KEY)
        except Exception as error:
            raise BasetenResultStoreError(
                f"The task state store can't be read ({type(error).__name__}); nothing was sent."
            ) from error
        if not isinstance(held, dict) or held.get("fingerprint") != self._fingerprint:
            return None
        self._found = True
        return Response(
            request=self._request, status=held["status"], headers=held["headers"], body=b64decode(held["body"])
        )

    def keep(self, response: Response) -> bool:
        """Keep an answer if it is small; return whether it is kept."""
        if self._states is None or response.size > _MOST_BYTES:
            return False
        held = {
            "fingerprint": self._fingerprint,
            "status": response.status,
            "headers": dict(response.headers),
            "body": b64encode(response.body).decode(),
        }
        if len(json.dumps(held)) > _MOST_BYTES:
            return False
        try:
            self._states.set(_KEY, held)
        except Exception:  # The error of the result store is about to be raised, and says that the answer is lost.
            return False
        return True

    def forget(self) -> None:
        """Delete the answer, which has been stored by now; if that fails, Airflow deletes it after 30 days."""
        if self._found:
            try:
                self._states.delete(_KEY)
            except Exception:
                return
