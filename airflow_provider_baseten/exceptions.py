"""Exceptions of this package.

All derive from :class:`BasetenError`. It does not derive from Airflow's exceptions, because the package is also used in
scripts without Airflow. The DAG author decides whether a task is retried; ``retryable`` is a hint for this decision.
"""

from typing import Any


class BasetenError(Exception):
    """A call to Baseten failed.

    :param message: what was called, what happened, and what to do next.
    :param status: HTTP status of the response; ``None`` if there was no response.
    :param error_code: ``error_code`` in Baseten's error body, for example ``rate_limited``.
    :param request_id: Baseten's id of the request, for finding the request in Baseten's logs.
    :param retry_after: seconds that the server asked to wait before the next attempt.
    :param retryable: whether the same call can succeed later; ``None`` for the default of the exception class.
    :param may_have_run: whether Baseten may have run the model and charged for it, although there is no usable output.
    """

    #: Whether a retry of the task fails in the same way. This value is ignored if ``retryable`` of the error is true.
    is_permanent = False
    #: Whether every other request with the same API key fails in the same way. Such an error ends a bulk run.
    fails_all_requests = False
    _retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = self._retryable if retryable is None else retryable
        self.may_have_run = may_have_run

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args, vars(self))


class BasetenInputError(BasetenError):
    """An argument, a field of the connection or the model's input is not valid. The error is detected either by this
    package, before it sends the request, or by the server (400, 422).
    """

    is_permanent = True


class BasetenAuthError(BasetenError):
    """The API key is missing, refused or lacks a permission, or the account is out of credits (401, 402, 403)."""

    is_permanent = True
    fails_all_requests = True


class BasetenNotFoundError(BasetenError):
    """The model, chain, deployment, environment or route does not exist (404)."""

    is_permanent = True


class BasetenPayloadTooLargeError(BasetenError):
    """The request body is larger than Baseten accepts (413)."""

    is_permanent = True


class BasetenRateLimitError(BasetenError):
    """The server refused the request because of load or a rate limit (429, 529). The model did not run."""

    _retryable = True


class BasetenUnavailableError(BasetenError):
    """The server could not be reached, the connection was lost, or no replica is ready (502, 503, or a 500 that comes
    from Baseten and not from the model).
    """

    _retryable = True


class BasetenTimeoutError(BasetenError):
    """Connecting or waiting for the response took too long, or Baseten's own timeout expired (408, 504)."""

    _retryable = True


class BasetenModelError(BasetenError):
    """The model's own code raised an exception or responded with an error."""


class BasetenOutputError(BasetenModelError):
    """Baseten ran the model and charged for it, but the output is not usable: it was cut off at a length limit, was
    filtered, or does not match the requested format.
    """


class BasetenAsyncRequestError(BasetenError):
    """An async request ended without success: it failed, expired or was cancelled."""


class BasetenResultLostError(BasetenError):
    """An async request may have succeeded, but its output was not delivered or is not in the result store."""


class BasetenOrphanedRequestError(BasetenError):
    """An earlier attempt of the task died while it sent the request. Baseten may have received the request or not."""

    is_permanent = True


class BasetenResponseError(BasetenError):
    """The response is not a valid response of Baseten, for example HTML from a proxy or invalid JSON."""


class BasetenResultStoreError(BasetenError):
    """A result could not be written to, or read from, the result store or the output path."""


class BasetenBatchError(BasetenError):
    """Too many or all rows of a bulk run have failed, or the run was stopped. The outputs are kept, and the next run
    sends only the rows that have no output yet.
    """


class BasetenDeploymentError(BasetenError):
    """A deployment has failed, was deleted or is not in the state that was waited for, or an environment has another
    promotion in progress.
    """


class BasetenTrainingError(BasetenError):
    """A training job ended without success: it failed, could not be deployed or was stopped."""
