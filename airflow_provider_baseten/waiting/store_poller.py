"""Store poller: reads the result store of a connection in a thread, one read at a time."""

import asyncio
import time
from collections.abc import Callable, Collection

from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.client_source import ClientSource


class StorePoller:
    """Reads the result store of a connection in a thread, one read at a time.

    Reads of a slow store must not fill the thread pool, and a thread can't be cancelled. So each read waits until the
    previous read has ended, even if the caller of the previous read was cancelled.

    :param interval: seconds between two reads.
    :param warn_after: if a read takes longer than this number of seconds, a warning says that the store does not
        respond. Until the read ends, the warning is repeated at the same interval.
    """

    def __init__(self, interval: float, warn_after: float) -> None:
        self.interval = interval
        self._warn_after = warn_after
        self._read: asyncio.Task[set[str]] | None = None
        # Monotonic time since which the store has been readable; `None` while it is not.
        self._readable_since: float | None = float("-inf")

    async def delivered(
        self, source: ClientSource, request_ids: Collection[str], warn: Callable[[str, Exception | None], None]
    ) -> set[str] | None:
        """Return the ids of the requests whose result is in the store, ``None`` if the store can't be read.

        :param source: source of the URI of the store.
        :param warn: function that logs a problem and its error, if it has one.
        """
        try:
            store = ResultStore(await source.result_store())
            await self._finish(warn)
            reading = self._read = asyncio.create_task(in_thread(Deliveries(store).delivered, request_ids))
            reading.add_done_callback(self._on_done)
            await self._finish(warn)
            delivered = reading.result()
        except Exception as error:
            warn("the result store can't be read", error)
            self._readable_since = None
            return None
        if self._readable_since is None:
            self._readable_since = time.monotonic()
        return delivered

    def was_readable_for(self, seconds: float) -> bool:
        """Return whether the store has been readable for at least this number of seconds.

        After a failed read, the seconds count from the next read that succeeds. If no read has failed, return true.
        """
        return self._readable_since is not None and time.monotonic() - self._readable_since >= seconds

    async def _finish(self, warn: Callable[[str, Exception | None], None]) -> None:
        """Wait until no read is in progress."""
        while self._read is not None:
            _, pending = await asyncio.wait({self._read}, timeout=self._warn_after)
            if pending:
                warn("the result store does not respond", None)

    def _on_done(self, reading: asyncio.Task[set[str]]) -> None:
        self._read = None
        if not reading.cancelled():
            # If the caller was cancelled, no other code retrieves the exception, and asyncio would log an error.
            reading.exception()
