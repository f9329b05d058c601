"""Retries of HTTP requests within one call."""

import logging
import random
from dataclasses import dataclass
from typing import Any

import tenacity

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.exceptions import BasetenError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRetries:
    """Limits for the attempts of one request, and for the waits between them.

    :param max_attempts: maximum number of attempts, the first included, by default 8.
    :param total: time limit in seconds, counted from the first attempt, by default 3600. No attempt begins after it.
    :param initial: upper bound of the first random wait in seconds, by default 1. Each later wait doubles the bound.
    :param maximum: upper bound of every random wait in seconds, by default 60. If the server sends ``Retry-After``, the
        wait is not random. It is as long as this header asks, even if it exceeds the bound.
    """

    max_attempts: int = 8
    total: float = 3600.0
    initial: float = 1.0
    maximum: float = 60.0

    def options(self, request: Request) -> dict[str, Any]:
        """Return the keyword arguments for tenacity's ``Retrying`` and ``AsyncRetrying``."""

        def wait(state: tenacity.RetryCallState) -> float:
            return self._wait(_failure(state), state.attempt_number)

        def announce(state: tenacity.RetryCallState) -> None:
            log.warning(
                "%s Attempt %d follows in %.1f s.",
                _failure(state),
                state.attempt_number + 1,
                state.upcoming_sleep,
            )

        return {
            "retry": tenacity.retry_if_exception(lambda error: is_retryable(error, request)),
            "wait": wait,
            "stop": lambda state: (
                not self._may_continue(state.attempt_number, state.seconds_since_start or 0.0, state.upcoming_sleep)
            ),
            "before_sleep": announce,
            "reraise": True,
        }

    def pause(self, error: BasetenError, request: Request, attempt: int, elapsed: float) -> float | None:
        """Return the seconds to wait before the next attempt, ``None`` if no attempt follows.

        :param error: error of the last attempt.
        :param attempt: number of the last attempt, from 1.
        :param elapsed: seconds since the first attempt began.
        """
        if not is_retryable(error, request):
            return None
        seconds = self._wait(error, attempt)
        return seconds if self._may_continue(attempt, elapsed, seconds) else None

    def _may_continue(self, attempt: int, elapsed: float, pause: float) -> bool:
        return attempt < self.max_attempts and elapsed + pause < self.total

    def _wait(self, error: BaseException | None, attempt: int) -> float:
        asked = error.retry_after if isinstance(error, BasetenError) else None
        longest = min(self.maximum, self.initial * 2 ** (attempt - 1))
        return random.uniform(0, longest) if asked is None else asked  # noqa: S311


def is_retryable(error: BaseException, request: Request) -> bool:
    """Return whether a failed request may be sent again.

    A request is sent again only if a new attempt may succeed after this error. If the model may have run already, the
    request must also be idempotent: an idempotent request may run the model twice.
    """
    return isinstance(error, BasetenError) and error.retryable and (request.idempotent or not error.may_have_run)


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
