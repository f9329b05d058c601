"""What can go wrong, as types.

Every error is a :class:`BasetenError`. It does not derive from Airflow's own exceptions: scripts raise it without
Airflow, and whether a task is retried is the DAG author's decision, for which ``retryable`` is the hint.
"""

from typing import Any


class BasetenError(Exception):
    """A call to Baseten did not give a usable answer.

    :param message: one sentence: what was called, what happened to it, what to do next.
    :param status: HTTP status of the answer; ``None`` when there was none.
    :param error_code: ``error_code`` of Baseten's error body, for example ``rate_limited``.
    :param request_id: Baseten's id of the request, the handle for its logs.
    :param retry_after: seconds that the server asked to wait before the next attempt.
    :param retryable: whether the same call can succeed later; by default what the class says.
    :param may_have_run: whether the model may have done the work (and it may be charged) although no answer arrived.
    """

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
    """An argument, a connection field or the model's input is wrong; found here or by the server (400, 422)."""


class BasetenAuthError(BasetenError):
    """The key is missing, refused or not allowed to do this, or the account is out of credits (401, 402, 403)."""


class BasetenNotFoundError(BasetenError):
    """The model, chain, deployment, environment or route does not exist (404)."""


class BasetenPayloadTooLargeError(BasetenError):
    """The request body is larger than Baseten takes (413)."""


class BasetenRateLimitError(BasetenError):
    """The server sheds load; nothing ran (429, 529)."""

    _retryable = True


class BasetenUnavailableError(BasetenError):
    """The server could not be reached, or has no replica that can answer (gateway 500, 502, 503, lost connections)."""

    _retryable = True


class BasetenTimeoutError(BasetenError):
    """No answer in time: connecting, reading, or inside Baseten (408, 504)."""

    _retryable = True


class BasetenModelError(BasetenError):
    """The model's own code raised or refused."""


class BasetenOutputError(BasetenModelError):
    """The model answered, and was paid, but what it wrote is not usable: it was cut off at a length limit, filtered, or
    has not the form that was asked for.
    """


class BasetenAsyncRequestError(BasetenError):
    """An async request ended without success: it failed, expired or was cancelled."""


class BasetenResultLostError(BasetenError):
    """An async request may have succeeded, but its output is nowhere to be found."""


class BasetenOrphanedRequestError(BasetenError):
    """An earlier attempt began to send the request and died; whether Baseten got it is unknown."""


class BasetenResponseError(BasetenError):
    """An answer came that is not what it says it is, for example HTML from a proxy or broken JSON."""


class BasetenResultStoreError(BasetenError):
    """An output could not be written to, or read back from, the place where results land."""


class BasetenBatchError(BasetenError):
    """More rows of a bulk run have failed than it allows; what succeeded is kept, and the next run sends the rest."""
