"""Looks into a result store without blocking the event loop."""

import asyncio
from collections.abc import Callable, Collection

from asgiref.sync import sync_to_async

from airflow_provider_baseten.storage.result_store import ResultStore


class Lookout:
    """Looks into result stores, one look at a time.

    A thread can't be cancelled, and a slow store must not take one thread after the other. So a look is waited for even
    if nobody wants to know any more what it finds.

    :param patience: seconds after which, again and again, it is told that a store is slow.
    :param tell_slow: called then.
    """

    def __init__(self, patience: float, tell_slow: Callable[[], None]) -> None:
        self._patience = patience
        self._tell_slow = tell_slow
        self._looking: asyncio.Task[set[str]] | None = None

    async def delivered(self, store: ResultStore, request_ids: Collection[str]) -> set[str]:
        """Return those of the requests whose result is in the store.

        :raises BasetenResultStoreError: the store can't be read.
        """
        await self._end()
        # Not asyncio.to_thread: in Airflow 3.1 only threads of asgiref may read the connection of a store.
        look = sync_to_async(store.delivered, thread_sensitive=False)
        looking = self._looking = asyncio.create_task(look(request_ids))
        looking.add_done_callback(self._ended)
        await self._end()
        return looking.result()

    async def _end(self) -> None:
        """Wait until no look is under way."""
        while self._looking is not None:
            _, pending = await asyncio.wait({self._looking}, timeout=self._patience)
            if pending:
                self._tell_slow()

    def _ended(self, looking: asyncio.Task[set[str]]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # Nobody may be left to ask for it.
