"""Which processor cores the threads of a run may use."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those it starts, on one core.

    The event loop and the thread of the HTTP client hand the interpreter lock to each other for every answer. With a
    core for each, that wakes a sleeping core every time, which costs more than the work: on one core a run is half as
    fast again. Where the system does not allow it, nothing happens.
    """
    if not _ALL:  # Not Linux.
        yield
        return
    before = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, {random.choice(sorted(before))})  # noqa: S311
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)


def use_all_cores() -> None:
    """Let this thread go where it likes: it prepares rows or writes parts beside the event loop."""
    if _ALL:
        with suppress(OSError):
            os.sched_setaffinity(0, _ALL)
