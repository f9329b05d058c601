"""Log lines of one call: what is called, and what it answered."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

    from airflow_provider_baseten.api.requests import Request
    from airflow_provider_baseten.api.responses import Response


class CallLog:
    """Logs a call when it begins and when it was answered.

    :param log: of the task or the trigger.
    :param request: what is sent. Of it only the subject is logged.
    """

    def __init__(self, log: "logging.Logger | Any", request: "Request") -> None:
        self._log = log
        self._subject = request.subject
        self._start = time.monotonic()
        log.info("Calling %s.", self._subject)

    def answered(self, response: "Response") -> None:
        """Log status, seconds, size and id."""
        self._log.info(
            "%s answered %d after %.1f s with %s bytes (request id %s).",
            self._subject,
            response.status,
            time.monotonic() - self._start,
            f"{response.size:,}",
            response.request_id,
        )
