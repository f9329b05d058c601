"""Requests, made in a thread before they are needed."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from airflow_provider_baseten.batch.calls import Call
from airflow_provider_baseten.batch.cores import use_all_cores

_BLOCK_CALLS = 256
_BLOCK_BYTES = 8 << 20
_AHEAD = 2 * _BLOCK_CALLS


class Feed:
    """Takes requests from an iterator in blocks.

    :param calls: may block. The one thread that it runs in is not waited for at the end: rows may come from a function
        that takes its time.
    """

    def __init__(self, calls: Iterator[Call]) -> None:
        self._calls = calls
        self._ready: deque[Call] = deque()
        self._bytes = 0
        self._exhausted = False
        self._wanted: SimpleQueue[asyncio.Future[list[Call]] | None] = SimpleQueue()
        self._filling: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._make_blocks, name="baseten-batch-rows", daemon=True).start()

    @property
    def exhausted(self) -> bool:
        """Whether all requests were taken."""
        return self._exhausted and not self._ready

    @property
    def all_read(self) -> bool:
        """Whether all requests were made; some may still have to be taken."""
        return self._exhausted

    @property
    def starved(self) -> bool:
        """Whether the next request has to be waited for."""
        return not self._exhausted and not self._ready

    async def next(self) -> Call | None:
        """Return the next request, ``None`` after the last one.

        :raises BasetenInputError: the input can't be read on.
        """
        while not self._ready:
            if self._exhausted:
                return None
            await asyncio.shield(self._fill())
        call = self._ready.popleft()
        self._bytes -= len(call.body)
        if len(self._ready) < _AHEAD and self._bytes < _BLOCK_BYTES and not self._exhausted:
            self._fill()
        return call

    def close(self) -> None:
        """Take no more."""
        self._wanted.put(None)
        if self._filling is not None:
            self._filling.cancel()

    def _fill(self) -> "asyncio.Task[None]":
        if self._filling is None:
            self._filling = asyncio.create_task(self._take_block())
        return self._filling

    async def _take_block(self) -> None:
        made: asyncio.Future[list[Call]] = self._loop.create_future()
        self._wanted.put(made)
        block = await made
        self._exhausted = not block
        self._ready.extend(block)
        self._bytes += sum(len(call.body) for call in block)
        self._filling = None  # After an error it stays, and whoever waits for it gets the error.

    def _make_blocks(self) -> None:
        use_all_cores()
        error: BaseException | None = None
        while (made := self._wanted.get()) is not None:
            block: list[Call] = []
            if error is None:
                block, error = _block(self._calls)
            # What was made before an error comes first.
            settle = partial(_settle, made, block, None if block else error)
            with suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(settle)


def _settle(made: "asyncio.Future[list[Call]]", block: list[Call], error: BaseException | None) -> None:
    if made.cancelled():
        return
    if error is None:
        made.set_result(block)
    else:
        made.set_exception(error)


def _block(calls: Iterator[Call]) -> tuple[list[Call], BaseException | None]:
    """Return the next calls, and the error after which there are no more."""
    block = []
    size = 0
    try:
        for call in calls:
            block.append(call)
            size += len(call.body)
            if len(block) >= _BLOCK_CALLS or size >= _BLOCK_BYTES:
                break
    except BaseException as error:
        return block, error
    return block, None
