"""Requests, made in a thread before they are needed."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from airflow_provider_baseten.batch.calls import Call

_BLOCK_CALLS = 256
_BLOCK_BYTES = 8 << 20
_AHEAD = 2 * _BLOCK_CALLS


class Feed:
    """Takes requests from an iterator in blocks.

    :param calls: may block; used by one thread at a time.
    """

    def __init__(self, calls: Iterator[Call]) -> None:
        self._calls = calls
        self._ready: deque[Call] = deque()
        self._bytes = 0
        self._filling: asyncio.Task[None] | None = None
        self._exhausted = False

    @property
    def exhausted(self) -> bool:
        """Whether all requests were taken."""
        return self._exhausted and not self._ready

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
        """Take no more, and do not wait for the thread."""
        if self._filling is not None:
            self._filling.cancel()

    def _fill(self) -> "asyncio.Task[None]":
        if self._filling is None:
            self._filling = asyncio.create_task(self._take_block())
        return self._filling

    async def _take_block(self) -> None:
        block = await _in_thread(self._calls)
        self._exhausted = not block
        self._ready.extend(block)
        self._bytes += sum(len(call.body) for call in block)
        self._filling = None  # After an error it stays, and whoever waits for it gets the error.


def _in_thread(calls: Iterator[Call]) -> "asyncio.Future[list[Call]]":
    """Take a block in a thread that nobody waits for at the end: rows may come from a function that takes its time."""
    loop = asyncio.get_running_loop()
    block: asyncio.Future[list[Call]] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(_settle, block, _block(calls), None)
        except BaseException as error:
            settle = partial(_settle, block, [], error)
        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="baseten-batch-rows", daemon=True).start()
    return block


def _settle(block: "asyncio.Future[list[Call]]", calls: list[Call], error: BaseException | None) -> None:
    if block.cancelled():
        return
    if error is None:
        block.set_result(calls)
    else:
        block.set_exception(error)


def _block(calls: Iterator[Call]) -> list[Call]:
    block = []
    size = 0
    for call in calls:
        block.append(call)
        size += len(call.body)
        if len(block) >= _BLOCK_CALLS or size >= _BLOCK_BYTES:
            break
    return block
