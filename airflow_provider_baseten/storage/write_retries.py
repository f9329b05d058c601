"""Retries of failed writes, so that data that was paid for is not lost, such as the output of a request."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError

if TYPE_CHECKING:
    from tenacity import RetryCallState

# Seconds for which a failing write is repeated. A worker repeats it for a shorter time than a triggerer, because the
# task holds a worker slot meanwhile.
WORKER_SECONDS = 60.0
TRIGGERER_SECONDS = 900.0

# The first pause between two writes. Each further pause is twice as long as the one before, but at most
# `_MAX_PAUSE_SHARE` of the time for which the write is repeated.
FIRST_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SHARE = 1 / 60

T = TypeVar("T")

log = logging.getLogger(__name__)


def persist(write: Callable[[], T], *, errors: type[Exception] = BasetenResultStoreError) -> T:
    """Call a function that writes. If it fails, repeat the call for a minute, and log this once.

    :param errors: errors after which the call is repeated.
    :raises Exception: the last error.
    """
    import tenacity

    return tenacity.Retrying(**_options(errors, WORKER_SECONDS))(write)


async def persist_async(
    write: Callable[[], Awaitable[T]], *, seconds: float, is_hurried: Callable[[], bool] = lambda: False
) -> T:
    """Call an asynchronous function that writes. If it fails, repeat the call, and log this once.

    :param seconds: time after which the call is not repeated any more.
    :param is_hurried: function that is called after each failure. If it returns true, the write is not repeated.
    :raises BasetenResultStoreError: the last error.
    """
    import tenacity

    options = _options(BasetenResultStoreError, seconds)
    options["stop"] |= lambda _: is_hurried()
    return await tenacity.AsyncRetrying(**options)(write)


def _options(errors: type[Exception], seconds: float) -> dict[str, Any]:
    import tenacity

    def announce(state: "RetryCallState") -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            error = state.outcome.exception()
            # For an error from outside this package only the type is logged: its text may quote secrets or inputs.
            reason = error if isinstance(error, BasetenError) else type(error).__name__
            log.warning("A write failed and is retried for %d s: %s", seconds, reason)

    return {
        "retry": tenacity.retry_if_exception_type(errors),
        "wait": tenacity.wait_exponential(FIRST_PAUSE_SECONDS, max=seconds * _MAX_PAUSE_SHARE),
        "stop": tenacity.stop_after_delay(seconds),
        "before_sleep": announce,
        "reraise": True,
    }
