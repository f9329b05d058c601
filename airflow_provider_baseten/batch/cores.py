"""CPU affinity of the threads of a run."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


@contextmanager
def one_core() -> Iterator[None]:
    """Pin this thread, and the threads that it starts in the block, to one core.

    The event loop and the thread of the HTTP client pass the interpreter lock to each other for every response. If each
    of them had its own core, a sleeping core would have to wake up every time. That costs more than the work itself: on
    one core a run is 1.5 times as fast. Where the system does not allow pinning, the block runs on all cores.
    """
    if not _ALL:  # Only Linux supports pinning.
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
    """Let this thread run on every core, although the thread that started it is pinned to one."""
    if _ALL:
        with suppress(OSError):
            os.sched_setaffinity(0, _ALL)
