"""Log lines of one call: the start, the response, and what becomes of the call if the task ends before the response."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.transport import Attempt


class CallLog:
    """Logs a call when it begins and when its response has arrived.

    :param log: logger of the task or the trigger.
    :param request: request of the call. Only its ``subject`` is logged. The subject names the call, for example
        ``predict of model abc``.
    """

    def __init__(self, log: "logging.Logger | Any", request: "Request") -> None:
        self._log = log
        self._subject = request.subject
        self._start = time.monotonic()
        self._response: Response | None = None
        log.info("Calling %s.", self._subject)

    def log_response(self, response: "Response") -> None:
        """Log the status, duration, size and request id of the response."""
        self._response = response
        self._log.info(
            "%s returned %d after %.1f s with %s bytes (request id %s).",
            self._subject,
            response.status,
            time.monotonic() - self._start,
            f"{response.size:,}",
            response.request_id,
        )

    def describe_interruption(self, attempt: "Attempt | None") -> str:
        """Return a sentence on what happens to the call if the task ends now.

        :param attempt: the request in flight, which has no complete response yet; ``None`` if no request is in flight.
        """
        if self._response is not None:
            return (
                f"{self._subject} got a response (request id {self._response.request_id}), but its output was not "
                "stored yet: the next attempt sends the request again, and pays again."
            )
        if attempt is None:
            return (
                f"{self._subject} was not in flight at that moment, so nothing runs. The next attempt sends the "
                "request."
            )
        request_id = f"request id {attempt.request_id}" if attempt.request_id else "it has no id before the response"
        return (
            f"{self._subject} was sent {time.monotonic() - attempt.began:.0f} s before and has no response yet "
            f"({request_id}). Its connection is closed now: Baseten cancels the work, but the model may still run and "
            "be billed. The next attempt sends the request again."
        )
