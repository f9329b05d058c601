"""Whether a task that failed is tried again, and when."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_baseten.arguments import check_flags, shown
from airflow_provider_baseten.compat import KNOWS_RETRY_POLICY, RetryDecision, RetryPolicy
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenOrphanedRequestError,
    BasetenPayloadTooLargeError,
    BasetenUnavailableError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

# Seconds. As long as Airflow's own `[core] max_task_retry_delay`, whatever a server asks for.
LONGEST_DELAY = 86_400.0

_HOPELESS = (
    BasetenAuthError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenOrphanedRequestError,
)
# Codes of an async request that Baseten itself does not try again.
_HOPELESS_CODES = frozenset({"MODEL_INVALID_INPUT", "MODEL_DOES_NOT_EXIST", "ASYNC_REQUEST_NOT_SUPPORTED"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen after a failure.

    :param action: ``fail`` at once, ``retry`` after ``delay``, or what the task's ``retries`` say (``default``).
    :param delay: seconds until the retry.
    :param reason: one sentence for the task's log.
    """

    action: Literal["fail", "retry", "default"]
    delay: float | None = None
    reason: str | None = None


def decide(error: BaseException, *, retry_model_errors: bool) -> Decision:
    """Decide from the error alone.

    :param error: what ended the attempt.
    :param retry_model_errors: see :class:`BasetenRetryPolicy`.
    """
    name = type(error).__name__
    if not isinstance(error, BasetenError):
        return Decision("default")
    if _is_hopeless(error):
        return Decision("fail", reason=f"{name}: a retry would fail in the same way.")
    if _is_of_the_model(error) and not retry_model_errors:
        return Decision("fail", reason=f"{name}: errors of the model are not retried.")
    if error.retryable and error.retry_after is not None:
        delay = min(error.retry_after, LONGEST_DELAY)
        return Decision("retry", delay, f"{name}: the server asks to wait {delay:g} s.")
    return Decision("default")


def _is_hopeless(error: BasetenError) -> bool:
    # A certificate that is not trusted. A request that was cancelled is another matter, although nothing can bring it
    # back: a worker that is told to end cancels its own, and the next attempt sends it anew.
    if isinstance(error, BasetenUnavailableError) and not error.retryable:
        return True
    # Retryable are an input that is not there yet, and a connection that only the triggerer can't read: the retry waits
    # for the same request.
    return (isinstance(error, _HOPELESS) and not error.retryable) or error.error_code in _HOPELESS_CODES


def _is_of_the_model(error: BasetenError) -> bool:
    return isinstance(error, BasetenModelError) or error.error_code == "MODEL_PREDICT_ERROR"


class BasetenRetryPolicy(RetryPolicy):
    """Retries what a retry can mend. The default of every operator and sensor of this package, mapped ones too.

    - A refused key, wrong input, an unknown model, a body that is too large, and a request that is orphaned where
      ``on_orphaned_request="fail"``: the task fails at once.
    - A server that says how long to wait (``Retry-After``): the task is retried after that time, at most a day, instead
      of after its ``retry_delay``.
    - Everything else: as ``retries`` and ``retry_delay`` say. After a lost result, or an input file that is not there,
      a retry looks again, after a cancelled request it sends a new one.

    There are never more retries than the task's ``retries``. Below Airflow 3.3 only the first rule is in force.

    :param retry_model_errors: whether errors of the model's own code are retried; by default true.
    """

    def __init__(self, *, retry_model_errors: bool = True) -> None:
        check_flags(retry_model_errors=retry_model_errors)
        self.retry_model_errors = retry_model_errors

    def decide(self, error: BaseException) -> Decision:
        """Decide from the error; see :func:`decide`."""
        return decide(error, retry_model_errors=self.retry_model_errors)

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: "Context | None" = None
    ) -> RetryDecision:
        """Tell Airflow what to do.

        :param exception: what ended the attempt.
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
    """Return the policy of an operator or sensor; ``None`` gives the default, which a mapped task says for "not given".

    :raises BasetenInputError: it is none, or one that this Airflow does not ask.
    """
    if policy is None:
        return BasetenRetryPolicy()
    if not isinstance(policy, RetryPolicy if KNOWS_RETRY_POLICY else BasetenRetryPolicy):
        raise BasetenInputError(f"retry_policy={shown(policy)} is no retry policy that this Airflow knows.")
    return policy
