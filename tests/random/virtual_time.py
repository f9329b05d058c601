"""An event loop in which hours pass in no time, and which does everything in one thread and in one order."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Future
from random import Random
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next moment at which something is due.

    What others do in threads is done at once, and its result is there after what it is said to take.

    :param epoch: seconds since the epoch at the beginning.
    """

    def __init__(self, epoch: float) -> None:
        self.elapsed = 0.0
        self.thread_delay: Callable[[], float] = lambda: 0.0
        self._epoch = epoch
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.elapsed

    def epoch_time(self) -> float:
        return self._epoch + self.elapsed

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        return asyncio.wrap_future(self.in_thread(func, *args), loop=self)

    def in_thread(self, func: Callable[..., Any], *args: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            settle, value = future.set_result, func(*args)
        except BaseException as error:
            settle, value = future.set_exception, error
        delay = self.thread_delay()
        if delay:
            self.call_later(delay, lambda: None if future.cancelled() else settle(value))
        else:
            settle(value)
        return future


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("Everybody waits, and nothing will ever happen.")
        self._loop.elapsed += max(timeout, 1e-6)
        return []


class InlineExecutor:
    """Stands in for a pool of threads.

    :param loop: finds the loop.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, func: Callable[..., Any], *args: Any) -> "Future[Any]":
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return loop.in_thread(func, *args)


class Windows:
    """Times at which something is down.

    :param draw: where they are drawn from.
    :param most: how many there are at most.
    :param span: seconds in which they begin.
    :param length: how long they are on average, in seconds.
    """

    def __init__(self, draw: Random, *, most: int, span: float, length: float) -> None:
        begins = [draw.uniform(0, span) for _ in range(draw.randint(0, most))]
        self._all = [(begin, begin + draw.expovariate(1 / length)) for begin in begins]

    def contain(self, moment: float) -> bool:
        return any(begin <= moment < end for begin, end in self._all)

    def over(self) -> float:
        return max((end for _, end in self._all), default=0.0)

    def __str__(self) -> str:
        return ", ".join(f"{begin:.0f}-{end:.0f} s" for begin, end in sorted(self._all)) or "never"
