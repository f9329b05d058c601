"""Poller: waits for the async requests of all triggers of an event loop that use the same connection."""

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.client import AsyncClient
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenRateLimitError
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.client_source import ClientSource
from airflow_provider_baseten.waiting.errors import no_connection
from airflow_provider_baseten.waiting.limiter import StatusCallLimiter
from airflow_provider_baseten.waiting.log import error_words, log_cancel
from airflow_provider_baseten.waiting.schedule import Schedule
from airflow_provider_baseten.waiting.state import GRACE, Observation, Outcome
from airflow_provider_baseten.waiting.store_poller import StorePoller
from airflow_provider_baseten.waiting.trigger_waiter import TriggerWaiter
from airflow_provider_baseten.waiting.waiter import WaitingRequest

log = logging.getLogger(__name__)

_CALLS_IN_FLIGHT = 32
# Seconds between two warnings about the same problem, and between two attempts to read a new API key.
_REPEAT_AFTER = 60.0
# While the connection can't be read, the poller tries again every `_RECONNECT` seconds. The failures end a wait only if
# all tries in the first `_CONNECTION_GRACE` seconds of the wait fail. So the wait survives a short outage of Airflow's
# API server or of a secrets backend. After one successful try, the wait survives an outage of any length.
_RECONNECT = 5.0
_CONNECTION_GRACE = 120.0
# Number of requests after which `_read_store` pauses, so that other tasks of the event loop can run.
_AT_ONCE = 100


class Poller:
    """Waits for async requests over one connection, on behalf of all triggers of an event loop.

    It reads the result store for all requests at once, makes status calls within a rate limit, and keeps the deadlines.
    A failed read or status call never ends a wait. If the connection can't be read during the first two minutes of a
    wait, the wait ends, because the triggerer probably does not have the connection. The poller lives as long as the
    event loop, so that the rate limit holds while triggers come and go. While no trigger waits, the poller has no
    client and runs no tasks.

    :param baseten_conn_id: id of the Airflow connection, for messages.
    :param share: function that returns a context manager, which yields the source of the client. The context is open
        while a trigger waits.
    """

    _source: ClientSource
    _schedule: Schedule[WaitingRequest]
    _work: asyncio.Task[None]

    def __init__(self, baseten_conn_id: str, share: Callable[[], AbstractAsyncContextManager[ClientSource]]) -> None:
        self._conn_id = baseten_conn_id
        self._share = share
        self._sharing = AsyncExitStack()
        self._limiter = StatusCallLimiter(config.STATUS_CALLS_PER_SECOND.get())
        self._store_interval = config.STORE_CHECK_INTERVAL.get()
        self._users = 0
        self._waiters: set[TriggerWaiter] = set()
        self._undelivered: dict[str, set[WaitingRequest]] = {}
        self._not_looked_for: set[TriggerWaiter] = set()
        self._missing: set[WaitingRequest] = set()
        # Monotonic time since which the result store has been readable; `None` while it is not.
        self._readable_since: float | None = float("-inf")
        self._store_poller = StorePoller(_REPEAT_AFTER, lambda: self._warn("the result store does not respond", None))
        self._connected_at = float("-inf")
        self._renewed_at = float("-inf")
        self._warned_at: dict[str, float] = {}

    async def wait(self, waiter: TriggerWaiter) -> None:
        """Wait until every request has an outcome or the deadline has passed.

        :raises BasetenError: the Airflow connection was never readable during the wait.
        """
        async with self._in_use():
            self._join(waiter)
            try:
                await self._until_deadline(waiter)
                if waiter.error is not None:
                    raise waiter.error
                self._drop_all(waiter)
                waiter.settle_late(time.time())
            finally:
                self._leave(waiter)

    async def cancel(self, target: Target, request_ids: Collection[str]) -> None:
        """Cancel the requests that are still queued; failures are logged."""
        async with self._in_use():
            await asyncio.gather(*(self._cancel(target, request_id) for request_id in request_ids))

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            if self._users == 1:
                await self._open()
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                await self._close()

    async def _open(self) -> None:
        self._source = await self._sharing.enter_async_context(self._share())
        self._schedule = Schedule()
        # The work runs in a new context. In the context of the first trigger, all log lines would go to its task's log.
        self._work = asyncio.create_task(self._keep_working(self._schedule), context=contextvars.Context())
        self._work.add_done_callback(self._wake_all)

    async def _close(self) -> None:
        # The attributes are read before the awaits below, because a wait that begins meanwhile sets them again.
        work, sharing = self._work, self._sharing
        self._sharing = AsyncExitStack()
        del self._work, self._source, self._schedule  # These objects would keep the event loop in memory.
        work.cancel()
        await asyncio.wait({work})
        await sharing.aclose()

    def _wake_all(self, work: asyncio.Task[None]) -> None:
        # `_close` deletes `_work` before it cancels the task. So if `_work` is still this task, a bug has ended the
        # task, and the waiters would wait in vain.
        if work is getattr(self, "_work", None):
            for waiter in self._waiters:
                waiter.end()

    def _join(self, waiter: TriggerWaiter) -> None:
        waiter.joined_at = time.monotonic()
        self._waiters.add(waiter)
        for request in waiter.open.values():
            self._plan(request)
            if waiter.may_be_delivered:
                self._undelivered.setdefault(request.request_id, set()).add(request)
                self._not_looked_for.add(waiter)

    def _leave(self, waiter: TriggerWaiter) -> None:
        self._waiters.discard(waiter)
        self._not_looked_for.discard(waiter)
        self._drop_all(waiter)
        waiter.open.clear()

    async def _until_deadline(self, waiter: TriggerWaiter) -> None:
        while not waiter.ended.is_set() and (left := waiter.deadline - time.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, waiter.log.pause(time.time()))):
                    await waiter.changed.wait()
            waiter.changed.clear()
            # The lines are logged in the context of the trigger, so that they go to the log of its task.
            waiter.log.write(time.time())
        # The deadline may have passed while no triggerer ran. A result that was delivered meanwhile still counts, so
        # wait until the store was read once.
        if waiter in self._not_looked_for:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._store_interval):
                    await waiter.ended.wait()
        if self._work.done():
            self._work.result()

    def _settle(self, request: WaitingRequest, outcome: Outcome) -> None:
        request.waiter.settle(request.request_id, outcome)
        self._drop(request)

    def _drop_all(self, waiter: TriggerWaiter) -> None:
        for request in waiter.open.values():
            self._drop(request)

    def _drop(self, request: WaitingRequest) -> None:
        self._missing.discard(request)
        same = self._undelivered.get(request.request_id, set())
        same.discard(request)
        if not same:
            self._undelivered.pop(request.request_id, None)

    async def _keep_working(self, schedule: Schedule[WaitingRequest]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_reading())
            group.create_task(self._keep_asking(schedule))

    async def _keep_reading(self) -> None:
        while True:
            if self._undelivered:
                await self._read_store()
            await asyncio.sleep(self._store_interval)

    async def _read_store(self) -> None:
        """Read the result store, and end the wait for the requests whose result is there.

        If a request looked lost before this read, and its result is still not in the store, its wait ends as lost.
        """
        try:
            store = ResultStore(await self._source.result_store())
            missing, not_looked_for = [*self._missing], [*self._not_looked_for]
            delivered = await self._store_poller.delivered(store, [*self._undelivered])
        except Exception as error:
            self._warn("the result store can't be read", error)
            self._readable_since = None
            return
        if self._readable_since is None:
            self._readable_since = time.monotonic()
        # While the store was not available, the webhook receiver kept new deliveries elsewhere. It may still be writing
        # them to the store, so no request counts as lost yet.
        if time.monotonic() - self._readable_since < GRACE:
            missing = []
        found = {request for name in delivered for request in self._undelivered.get(name, ())}
        for number, request in enumerate(found.union(missing), 1):
            if request.is_open:
                is_found = request in found
                if is_found:
                    request.take(Observation(delivered=True), time.time())
                self._settle(request, Outcome.ENDED if is_found else Outcome.LOST)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for waiter in not_looked_for:
            self._not_looked_for.discard(waiter)
            if time.time() >= waiter.deadline:
                waiter.end()

    async def _keep_asking(self, schedule: Schedule[WaitingRequest]) -> None:
        # The schedule is an argument, because `self._schedule` may be replaced while this task is being cancelled.
        free = asyncio.Semaphore(_CALLS_IN_FLIGHT)
        async with asyncio.TaskGroup() as calls:
            while True:
                await free.acquire()
                request = await schedule.next()
                while not request.is_open:
                    request = await schedule.next()
                client = await self._connected()
                await self._limiter.turn()
                calls.create_task(self._ask(client, request)).add_done_callback(lambda _: free.release())

    async def _ask(self, client: AsyncClient, request: WaitingRequest) -> None:
        if not request.is_open:
            return
        seen = await self._observe(client, request)
        if not request.is_open:
            return
        request.polls += 1
        match request.take(seen, time.time()):
            case None:
                self._plan(request)
            case Outcome.TIMEOUT:  # `wait` settles the request at the deadline.
                return
            case Outcome.LOST if request.waiter.may_be_delivered:  # The result may be in the store.
                self._missing.add(request)
            case outcome:
                self._settle(request, outcome)

    async def _observe(self, client: AsyncClient, request: WaitingRequest) -> Observation:
        try:
            seen = Observation.of_status(await client.get_async_request(request.waiter.target, request.request_id))
        except Exception as error:
            seen = Observation.of_status(error)
            if not seen.gone:
                self._handle(error, client)
                return seen
        self._limiter.accepted()
        return seen

    def _handle(self, error: Exception, client: AsyncClient) -> None:
        match error:
            case BasetenRateLimitError():
                self._limiter.refused(error.retry_after)
                self._warn("Baseten asks for fewer status calls", error)
            case BasetenAuthError():
                self._warn("Baseten refuses the key; the connection is read again every minute", error)
                self._renew(client)
            case _:
                self._warn("a status call failed", error)

    def _plan(self, request: WaitingRequest) -> None:
        # If a delivery is expected, the next status call comes after the next read of the store. The read is cheaper,
        # and if it finds the result, no status call is needed.
        least = self._store_interval if request.wait.expects_delivery else 0.0
        delay = request.delay(random.random(), least)  # noqa: S311 - only spreads calls.
        self._schedule.add(request, delay)

    async def _cancel(self, target: Target, request_id: str) -> None:
        client = await self._connected()
        await self._limiter.turn()
        try:
            result: bool | Exception = await client.cancel_async_request(target, request_id)
        except Exception as error:
            result = error
        log_cancel(log, request_id, result)

    async def _connected(self) -> AsyncClient:
        """Return the client. While the connection can't be read, wait and try again."""
        while True:
            try:
                client = await self._source.client()
            except Exception as error:
                self._warn("the connection can't be read", error)
                self._give_up(error)
                await asyncio.sleep(_RECONNECT)
            else:
                self._connected_at = time.monotonic()
                return client

    def _give_up(self, error: Exception) -> None:
        """End each wait that has lasted two minutes or more if the connection was never readable during that wait."""
        latest = time.monotonic() - _CONNECTION_GRACE
        for waiter in [*self._waiters]:
            if self._connected_at < waiter.joined_at <= latest and not waiter.ended.is_set():
                waiter.end(no_connection(self._conn_id, error, waiter.open, after=_CONNECTION_GRACE))

    def _renew(self, refused: AsyncClient) -> None:
        """Discard a client whose key was refused. The next client reads the key from the connection again.

        A key that stays invalid is refused in every call. So a client is discarded at most once a minute.
        """
        if time.monotonic() - self._renewed_at >= _REPEAT_AFTER:
            self._renewed_at = time.monotonic()
            self._source.renew(refused)

    def _warn(self, problem: str, error: Exception | None) -> None:
        now = time.monotonic()
        if now - self._warned_at.get(problem, float("-inf")) >= _REPEAT_AFTER:
            self._warned_at[problem] = now
            waiting = sum(len(waiter.open) for waiter in self._waiters)
            words = error_words(error) if error else ""
            for waiter in self._waiters:
                waiter.log.problem = f"Connection '{self._conn_id}': {problem}. {words}".rstrip()
            log.warning(
                "Connection '%s': %s. Still waiting for %d async requests. %s",
                self._conn_id,
                problem,
                waiting,
                words,
            )
