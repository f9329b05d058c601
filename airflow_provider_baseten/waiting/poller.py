"""Poller: waits for the async requests of all triggers of an event loop that use the same connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.telemetry.spans import wait_span
from airflow_provider_baseten.waiting.client_source import ClientSource
from airflow_provider_baseten.waiting.limiter import StatusCallLimiter
from airflow_provider_baseten.waiting.session import Session
from airflow_provider_baseten.waiting.store_poller import StorePoller
from airflow_provider_baseten.waiting.throttle import Throttle
from airflow_provider_baseten.waiting.trigger_waiter import TriggerWaiter

# Seconds between two warnings about the same problem, and between two attempts to read a new API key.
_REPEAT_AFTER = 60.0


class Poller:
    """Waits for async requests over one connection, on behalf of all triggers of an event loop.

    The poller lives as long as the event loop, so that the rate limit of the status calls holds while triggers come and
    go. While triggers wait, a :class:`~airflow_provider_baseten.waiting.session.Session` makes the status calls and
    reads the result store. While no trigger uses the poller, there is no session. Then there is also no client, and no
    task runs.

    :param baseten_conn_id: id of the Airflow connection, for messages.
    :param open_source: function that returns the object from which a session gets its client. It is called once for
        each session.
    """

    def __init__(self, baseten_conn_id: str, open_source: Callable[[], ClientSource]) -> None:
        self._conn_id = baseten_conn_id
        self._open_source = open_source
        self._limiter = StatusCallLimiter(config.STATUS_CALLS_PER_SECOND.get())
        self._store_poller = StorePoller(config.STORE_CHECK_INTERVAL.get(), _REPEAT_AFTER)
        self._throttle = Throttle(_REPEAT_AFTER)
        self._session: Session | None = None

    async def wait(self, waiter: TriggerWaiter) -> None:
        """Wait until every request has an outcome or the deadline has passed.

        :raises BasetenError: the Airflow connection was never readable during the wait.
        """
        with wait_span(waiter.target, waiter.request_ids, waiter.outcomes):
            await self._wait(waiter)

    async def _wait(self, waiter: TriggerWaiter) -> None:
        async with self._in_session() as session:
            session.join(waiter)
            try:
                await self._until_deadline(waiter)
                session.check()
                if waiter.error is not None:
                    raise waiter.error
                waiter.settle_late(time.time())
            finally:
                session.leave(waiter)

    async def cancel(self, target: Target, request_ids: Collection[str]) -> None:
        """Cancel the requests that are still queued; failures are logged."""
        async with self._in_session() as session:
            await asyncio.gather(*(session.cancel(target, request_id) for request_id in request_ids))

    @asynccontextmanager
    async def _in_session(self) -> AsyncIterator[Session]:
        """Yield the session. The first user opens it, and the last user closes it."""
        if self._session is None:
            self._session = Session(
                self._conn_id,
                self._open_source(),
                limiter=self._limiter,
                store_poller=self._store_poller,
                throttle=self._throttle,
            )
        session = self._session
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            if session.users == 0:
                # The session is removed before it is closed, because a wait that begins during the closing needs a new
                # session.
                self._session = None
                await session.close()

    async def _until_deadline(self, waiter: TriggerWaiter) -> None:
        while not waiter.ended.is_set() and (left := waiter.deadline - time.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, waiter.log.pause(time.time()))):
                    await waiter.changed.wait()
            waiter.changed.clear()
            # The lines are logged in the context of the trigger, so that they go to the log of its task.
            waiter.log.write(time.time())
        # The deadline may have passed while no triggerer ran. A result that was delivered meanwhile still counts, so
        # wait until the store has been read once.
        if waiter.needs_store_read:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._store_poller.interval):
                    await waiter.ended.wait()
