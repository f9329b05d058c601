"""Time limit of a blocking call. Some calls have no timeout of their own, such as DNS lookups and object stores."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Run a call in a thread of its own, and return its result.

    After the time limit the call continues in its thread, which does not keep the process from ending.

    :raises TimeoutError: there was no result in time.
    :raises Exception: error of the call.
    """
    results: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=run, name="baseten-check", daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no response within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
