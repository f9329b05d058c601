"""Prefetcher of requests: a thread makes the requests before the sender needs them."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from airflow_provider_baseten.batch.cores import use_all_cores
from airflow_provider_baseten.batch.row_requests import RowRequest

_BLOCK_REQUESTS = 256
_BLOCK_BYTES = 8 << 20
_AHEAD = 2 * _BLOCK_REQUESTS


class RequestPrefetcher:
    """Takes requests from an iterator in blocks.

    :param requests: iterator of the requests. It runs in a thread of its own, because it may block. :meth:`close` does
        not wait for this thread, because the user's code in the iterator may take long to make the next row.
    """

    def __init__(self, requests: Iterator[RowRequest]) -> None:
        self._requests = requests
        self._ready: deque[RowRequest] = deque()
        self._bytes = 0
        self._is_all_read = False
        self._wanted: SimpleQueue[asyncio.Future[list[RowRequest]] | None] = SimpleQueue()
        self._filling: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._make_blocks, name="baseten-batch-rows", daemon=True).start()

    @property
    def exhausted(self) -> bool:
        """Whether all requests were made and returned by :meth:`next`."""
        return self._is_all_read and not self._ready

    @property
    def all_read(self) -> bool:
        """Whether all requests were made, even if some still wait to be returned by :meth:`next`."""
        return self._is_all_read

    @property
    def starved(self) -> bool:
        """Whether :meth:`next` would have to wait."""
        return not self._is_all_read and not self._ready

    async def next(self) -> RowRequest | None:
        """Return the next request, ``None`` after the last one.

        :raises BasetenInputError: the rest of the input can't be read.
        """
        while not self._ready:
            if self._is_all_read:
                return None
            await asyncio.shield(self._fill())
        request = self._ready.popleft()
        self._bytes -= len(request.body)
        if len(self._ready) < _AHEAD and self._bytes < _BLOCK_BYTES and not self._is_all_read:
            self._fill()
        return request

    def close(self) -> None:
        """Stop the thread after its current block."""
        self._wanted.put(None)
        if self._filling is not None:
            self._filling.cancel()

    def _fill(self) -> "asyncio.Task[None]":
        if self._filling is None:
            self._filling = asyncio.create_task(self._take_block())
        return self._filling

    async def _take_block(self) -> None:
        made: asyncio.Future[list[RowRequest]] = self._loop.create_future()
        self._wanted.put(made)
        block = await made
        self._is_all_read = not block
        self._ready.extend(block)
        self._bytes += sum(len(request.body) for request in block)
        # Reset only after a success. If this task fails, it stays in `_filling`, so that each later next() raises its
        # error again.
        self._filling = None

    def _make_blocks(self) -> None:
        use_all_cores()
        error: BaseException | None = None
        while (made := self._wanted.get()) is not None:
            block: list[RowRequest] = []
            if error is None:
                block, error = _block(self._requests)
            # An error may come after some requests of the block were made. This block then returns these requests, and
            # the next block raises the error.
            settle = partial(_settle, made, block, None if block else error)
            with suppress(RuntimeError):  # The event loop may be closed.
                self._loop.call_soon_threadsafe(settle)


def _settle(made: "asyncio.Future[list[RowRequest]]", block: list[RowRequest], error: BaseException | None) -> None:
    if made.cancelled():
        return
    if error is None:
        made.set_result(block)
    else:
        made.set_exception(error)


def _block(requests: Iterator[RowRequest]) -> tuple[list[RowRequest], BaseException | None]:
    """Return the next block of requests, and the error if the iterator raised one."""
    block = []
    size = 0
    try:
        for request in requests:
            block.append(request)
            size += len(request.body)
            if len(block) >= _BLOCK_REQUESTS or size >= _BLOCK_BYTES:
                break
    except BaseException as error:
        return block, error
    return block, None
