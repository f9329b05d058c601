"""Retry policy: the decision whether a failed task is retried, and when."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_baseten.arguments import check_flags, shown
from airflow_provider_baseten.compat import KNOWS_RETRY_POLICY, RetryDecision, RetryPolicy
from airflow_provider_baseten.exceptions import (
    BasetenDeploymentError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenUnavailableError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

# Longest delay in seconds, even if the server asks for more. Airflow's `[core] max_task_retry_delay` has this default.
MAX_DELAY = 86_400.0

# If an async request fails with one of these error codes, Baseten itself does not retry it.
_PERMANENT_CODES = frozenset({"MODEL_INVALID_INPUT", "MODEL_DOES_NOT_EXIST", "ASYNC_REQUEST_NOT_SUPPORTED"})


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision on a failed attempt.

    :param action: ``fail``: no retry; ``retry``: a retry after ``delay``; ``default``: what the task's ``retries`` and
        ``retry_delay`` say.
    :param delay: seconds until the retry; only used for ``retry``.
    :param reason: one sentence for the log of the task.
    """

    action: Literal["fail", "retry", "default"]
    delay: float | None = None
    reason: str | None = None


def decide(error: BaseException, *, retry_model_errors: bool) -> Decision:
    """Return the decision for an error.

    :param error: the exception that ended the attempt.
    :param retry_model_errors: see :class:`BasetenRetryPolicy`.
    """
    name = type(error).__name__
    if not isinstance(error, BasetenError):
        return Decision("default")
    if _is_permanent(error):
        return Decision("fail", reason=f"{name}: a retry would fail in the same way.")
    if _is_model_error(error) and not retry_model_errors:
        return Decision("fail", reason=f"{name}: errors of the model are not retried.")
    if error.retryable and error.retry_after is not None:
        delay = min(error.retry_after, MAX_DELAY)
        return Decision("retry", delay, f"{name}: the server asks to wait {delay:g} s.")
    return Decision("default")


def _is_permanent(error: BasetenError) -> bool:
    # A BasetenUnavailableError that is not retryable means that the certificate is not trusted, which no retry changes.
    # For other types, `retryable` is not enough to decide. For example, a stopped worker cancels its request and raises
    # an error with `retryable=False`, but the next attempt of the task may send the request again.
    if isinstance(error, BasetenUnavailableError) and not error.retryable:
        return True
    # A deployment that does not exist. One that has failed may be activated or promoted by the next attempt.
    if isinstance(error, BasetenDeploymentError) and error.status == HTTPStatus.NOT_FOUND:
        return True
    # Errors of a permanent type are permanent, with two exceptions: an input file that does not exist yet, and a
    # connection that the triggerer can't read while it waits for an async request. These errors are retryable, because
    # a retry may find the file or the connection.
    return (error.is_permanent and not error.retryable) or error.error_code in _PERMANENT_CODES


def _is_model_error(error: BasetenError) -> bool:
    return isinstance(error, BasetenModelError) or error.error_code == "MODEL_PREDICT_ERROR"


class BasetenRetryPolicy(RetryPolicy):
    """Retry policy that does not retry permanent errors; the default of every operator and sensor of this package.

    - A refused API key, an untrusted certificate, wrong input, an unknown model or deployment, a request body that is
      too large, an async request with a permanent error code, or an orphaned request with
      ``on_orphaned_request="fail"``: the task fails without a retry. It also fails without a retry if it has embedded
      texts in several requests, and a vector is missing or the vectors differ in length.
    - One exception: if the triggerer can't read the connection while it waits for an async request, the task is retried
      as its ``retries`` and ``retry_delay`` say, also if the error is of a permanent type. The retry waits for the same
      request again. A deferred predict whose connection the triggerer can't read fails without a retry.
    - An error for which the server asks to wait (``Retry-After``): the task is retried after that time, at most a day.
      Its ``retry_delay`` is not used.
    - Any other error: the task is retried as its ``retries`` and ``retry_delay`` say. If a result was lost or an input
      file did not exist yet, the retry looks for it again. If a request was cancelled, the retry sends a new one.

    A task is never retried more often than its ``retries``. Below Airflow 3.3 the rule for ``Retry-After`` does not
    apply: the task's ``retry_delay`` is used.

    See :doc:`/retries`.

    :param retry_model_errors: whether a task is retried after an error of the model's own code; by default true.
    """

    def __init__(self, *, retry_model_errors: bool = True) -> None:
        check_flags(retry_model_errors=retry_model_errors)
        self.retry_model_errors = retry_model_errors

    def decide(self, error: BaseException) -> Decision:
        """Return the decision for an error; see :func:`decide`."""
        return decide(error, retry_model_errors=self.retry_model_errors)

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: "Context | None" = None
    ) -> RetryDecision:
        """Return the decision for an error as an object of Airflow's type.

        :param exception: the exception that ended the attempt.
        :param try_number: not used: Airflow counts the tries.
        :param max_tries: not used.
        :param context: not used.
        """
        decision = self.decide(exception)
        match decision.action:
            case "fail":
                return RetryDecision.fail(decision.reason)
            case "retry":
                return RetryDecision.retry(timedelta(seconds=decision.delay or 0), decision.reason)
        return RetryDecision.default()


def checked_policy(policy: Any) -> Any:
    """Check the retry policy of an operator or sensor, and return it.

    For ``None``, return the default policy. ``None`` means that the DAG author has given no policy.

    :raises BasetenInputError: the value is not a retry policy, or this version of Airflow does not call it.
    """
    if policy is None:
        return BasetenRetryPolicy()
    if not isinstance(policy, RetryPolicy if KNOWS_RETRY_POLICY else BasetenRetryPolicy):
        needed = (
            "an airflow.sdk.RetryPolicy" if KNOWS_RETRY_POLICY else "a subclass of it (Airflow calls others from 3.3)"
        )
        raise BasetenInputError(
            f"retry_policy={shown(policy)} is not a retry policy: give an object such as BasetenRetryPolicy(), or of "
            f"{needed}."
        )
    return policy
