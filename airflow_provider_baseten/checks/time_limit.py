"""Time limit of a blocking call. Some calls have no timeout of their own, such as DNS lookups and object stores."""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], undo: Callable[[], object] = lambda: None) -> T:
    """Run a call in a thread of its own, and return its result.

    After the time limit the call continues in its thread, which does not keep the process from ending.

    :param undo: function that the thread calls if the call ends after the time limit, with or without an error.
    :raises TimeoutError: there was no result in time.
    :raises Exception: error of the call.
    """
    results: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()
    is_late = threading.Event()
    decision = threading.Lock()

    def run() -> None:
        try:
            result: tuple[T | None, Exception | None] = (call(), None)
        except Exception as error:
            result = (None, error)
        with decision:
            results.put(result)
        if is_late.is_set():
            with suppress(Exception):
                undo()

    threading.Thread(target=run, name="baseten-check", daemon=True).start()
    try:
        value, error = results.get(timeout=seconds)
    except Empty:
        with decision:
            if results.empty():
                is_late.set()
                raise TimeoutError(f"no response within {seconds:g} s") from None
        value, error = results.get()
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
