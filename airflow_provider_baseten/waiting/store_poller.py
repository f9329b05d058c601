"""Store poller: reads the result store in a thread, one read at a time."""

import asyncio
from collections.abc import Callable, Collection

from asgiref.sync import sync_to_async

from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore


class StorePoller:
    """Reads result stores in a thread, one read at a time.

    Reads of a slow store must not fill the thread pool, and a thread can't be cancelled. So each read waits until the
    previous read has ended, even if the caller of the previous read was cancelled.

    :param warn_after: seconds after which ``warn_slow`` is called if a read has not ended. While the read lasts,
        ``warn_slow`` is called again each time this number of seconds has passed.
    :param warn_slow: function that logs that the store is slow.
    """

    def __init__(self, warn_after: float, warn_slow: Callable[[], None]) -> None:
        self._warn_after = warn_after
        self._warn_slow = warn_slow
        self._read: asyncio.Task[set[str]] | None = None

    async def delivered(self, store: ResultStore, request_ids: Collection[str]) -> set[str]:
        """Return the ids of the requests whose result is in the store.

        :raises BasetenResultStoreError: the store can't be read.
        """
        await self._finish()
        # Not asyncio.to_thread, because in Airflow 3.1 only threads of asgiref may read the connection of a store.
        read = sync_to_async(Deliveries(store).delivered, thread_sensitive=False)
        reading = self._read = asyncio.create_task(read(request_ids))
        reading.add_done_callback(self._on_done)
        await self._finish()
        return reading.result()

    async def _finish(self) -> None:
        """Wait until no read is in progress."""
        while self._read is not None:
            _, pending = await asyncio.wait({self._read}, timeout=self._warn_after)
            if pending:
                self._warn_slow()

    def _on_done(self, reading: asyncio.Task[set[str]]) -> None:
        self._read = None
        if not reading.cancelled():
            # If the caller was cancelled, no other code retrieves the exception, and asyncio would log an error.
            reading.exception()
