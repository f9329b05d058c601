"""Waits for async requests on behalf of all triggers of a process."""

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.client import AsyncClient
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenNotFoundError,
    BasetenRateLimitError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.blocking import positive_setting
from airflow_provider_baseten.waiting.log import cancel_words, name_of
from airflow_provider_baseten.waiting.pace import Pace
from airflow_provider_baseten.waiting.schedule import Schedule
from airflow_provider_baseten.waiting.state import GRACE, Observation, Outcome, next_poll
from airflow_provider_baseten.waiting.store_poller import Lookout
from airflow_provider_baseten.waiting.waiter import Waiter, WaitingRequest

log = logging.getLogger(__name__)

_CALLS_IN_FLIGHT = 32
# Seconds between two warnings about the same trouble, and between two looks for a new key.
_PATIENCE = 60.0
# Seconds until a connection that could not be read is read again, and after which a wait ends that began since it could
# be read last: long enough for a short outage of Airflow's API server or of a secrets backend.
_RECONNECT = 5.0
_CONNECTION_GRACE = 120.0
# How many requests are settled before other triggers of the process have their turn.
_AT_ONCE = 100


class ClientSource(Protocol):
    """Opens the client of a connection, and knows the connection's result store."""

    async def client(self) -> AsyncClient:
        """Return the client; the first call reads the connection."""

    async def result_store(self) -> str | None:
        """Return the URI of the result store, ``None`` for the default one."""

    def renew(self, refused: AsyncClient) -> None:
        """Replace a client whose key was refused; the next call of :meth:`client` reads the connection again."""


class Poller:
    """Waits for the async requests of one connection in one event loop, whichever triggers they belong to.

    It looks into the result store for all of them at once, asks Baseten about one after the other at a limited pace,
    and keeps the deadlines. No trouble with looking or asking ends a wait, except a connection that could not be read
    in its first two minutes: it is not there for the triggerer, and will not be. The poller lives as long as the
    loop, so that the pace holds whoever comes and goes, but works and has a client only while somebody waits.

    :param baseten_conn_id: id of the Airflow connection, for messages.
    :param share: makes the source of the client for as long as the poller works.
    """

    _source: ClientSource
    _schedule: Schedule[WaitingRequest]
    _work: asyncio.Task[None]

    def __init__(self, baseten_conn_id: str, share: Callable[[], AbstractAsyncContextManager[ClientSource]]) -> None:
        self._conn_id = baseten_conn_id
        self._share = share
        self._sharing = AsyncExitStack()
        self._pace = Pace(positive_setting("status_calls_per_second", 20.0))
        self._look_interval = positive_setting("store_check_interval", 5.0)
        self._users = 0
        self._waiters: set[Waiter] = set()
        self._undelivered: dict[str, set[WaitingRequest]] = {}
        self._not_looked_for: set[Waiter] = set()
        self._missing: set[WaitingRequest] = set()
        # Since when the result store can be looked into; `None` while it can't.
        self._readable_since: float | None = float("-inf")
        self._lookout = Lookout(_PATIENCE, lambda: self._warn("the result store does not answer", None))
        self._connected_at = float("-inf")
        self._renewed_at = float("-inf")
        self._warned_at: dict[str, float] = {}

    async def wait(self, waiter: Waiter) -> None:
        """Return when every request has an outcome. The deadline is one too.

        :raises BasetenError: the connection could not be read since the wait began.
        """
        async with self._in_use():
            self._join(waiter)
            try:
                await self._until_deadline(waiter)
                if waiter.error is not None:
                    raise waiter.error
                now = max(time.time(), waiter.deadline)
                for request in [*waiter.open.values()]:
                    self._settle(request, request.wait.after(request.seen, now).outcome or Outcome.TIMEOUT)
            finally:
                self._leave(waiter)

    async def cancel(self, target: Target, request_ids: Collection[str]) -> None:
        """Cancel those of the requests that are still queued. What can't be cancelled is told in the log."""
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
        # In a context of its own, for all that it logs would go to the log of the task that came first.
        self._work = asyncio.create_task(self._keep_working(self._schedule), context=contextvars.Context())
        self._work.add_done_callback(self._wake_all)

    async def _close(self) -> None:
        work = self._work
        del self._work, self._source, self._schedule  # They hold the event loop, which may end now.
        work.cancel()
        await asyncio.wait({work})
        await self._sharing.aclose()

    def _wake_all(self, work: asyncio.Task[None]) -> None:
        if work is getattr(self, "_work", None):  # It ended by itself: a mistake that must not be waited out.
            for waiter in self._waiters:
                waiter.end()

    def _join(self, waiter: Waiter) -> None:
        waiter.joined_at = time.monotonic()
        self._waiters.add(waiter)
        for request in waiter.open.values():
            self._plan(request)
            if waiter.looks_into_store:
                self._undelivered.setdefault(request.request_id, set()).add(request)
                self._not_looked_for.add(waiter)

    def _leave(self, waiter: Waiter) -> None:
        self._waiters.discard(waiter)
        self._not_looked_for.discard(waiter)
        for request in waiter.open.values():
            self._drop(request)
        waiter.open.clear()

    async def _until_deadline(self, waiter: Waiter) -> None:
        while not waiter.ended.is_set() and (left := waiter.deadline - time.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, waiter.log.pause(time.time()))):
                    await waiter.stirred.wait()
            waiter.stirred.clear()
            # Here, in the context of its own trigger: so the lines go to the log of its task.
            waiter.log.write(time.time())
        # The deadline may have passed while no triggerer ran: what was delivered is found all the same.
        if waiter in self._not_looked_for:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._look_interval):
                    await waiter.ended.wait()
        if self._work.done():
            self._work.result()

    def _settle(self, request: WaitingRequest, outcome: Outcome) -> None:
        waiter = request.waiter
        waiter.outcomes[request.request_id] = outcome
        del waiter.open[request.request_id]
        self._drop(request)
        if not waiter.open:
            waiter.end()

    def _drop(self, request: WaitingRequest) -> None:
        self._missing.discard(request)
        same = self._undelivered.get(request.request_id, set())
        same.discard(request)
        if not same:
            self._undelivered.pop(request.request_id, None)

    async def _keep_working(self, schedule: Schedule[WaitingRequest]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking())
            group.create_task(self._keep_asking(schedule))

    async def _keep_looking(self) -> None:
        while True:
            if self._undelivered:
                await self._look()
            await asyncio.sleep(self._look_interval)

    async def _look(self) -> None:
        """Settle what is in the result store, and what is not there although Baseten has no more to say about it."""
        try:
            store = ResultStore(await self._source.result_store())
            missing, unlooked = [*self._missing], [*self._not_looked_for]
            delivered = await self._lookout.delivered(store, [*self._undelivered])
        except Exception as error:
            self._warn("the result store can't be looked into", error)
            self._readable_since = None
            return
        if self._readable_since is None:
            self._readable_since = time.monotonic()
        if time.monotonic() - self._readable_since < GRACE:  # The receiver still stores what it could not store before.
            missing = []
        found = {request: Outcome.ENDED for name in delivered for request in self._undelivered.get(name, ())}
        outcomes = dict.fromkeys(missing, Outcome.LOST) | found
        for number, (request, outcome) in enumerate(outcomes.items(), 1):
            if request.is_open:
                request.waiter.note(request.request_id, Observation(delivered=outcome is Outcome.ENDED))
                self._settle(request, outcome)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for waiter in unlooked:
            self._not_looked_for.discard(waiter)
            if time.time() >= waiter.deadline:
                waiter.end()

    async def _keep_asking(self, schedule: Schedule[WaitingRequest]) -> None:
        # Given the schedule, for what is ending must neither miss it nor take from that of its successor.
        free = asyncio.Semaphore(_CALLS_IN_FLIGHT)
        async with asyncio.TaskGroup() as calls:
            while True:
                await free.acquire()
                request = await schedule.next()
                while not request.is_open:
                    request = await schedule.next()
                client = await self._connected()
                await self._pace.turn()
                calls.create_task(self._ask(client, request)).add_done_callback(lambda _: free.release())

    async def _ask(self, client: AsyncClient, request: WaitingRequest) -> None:
        if not request.is_open:
            return
        seen = await self._observe(client, request)
        if not request.is_open:
            return
        if seen != Observation():
            request.seen = seen
            request.waiter.note(request.request_id, seen)
        request.polls += 1
        wait = request.wait.after(seen, time.time())
        match wait.outcome:
            case None:
                request.wait = wait
                self._plan(request)
            case Outcome.TIMEOUT:  # The deadline is kept elsewhere.
                return
            case Outcome.LOST if wait.looks_into_store:  # The next look into the store decides.
                self._missing.add(request)
            case outcome:
                self._settle(request, outcome)

    async def _observe(self, client: AsyncClient, request: WaitingRequest) -> Observation:
        try:
            answer = await client.get_async_request(request.waiter.target, request.request_id)
        except BasetenNotFoundError:
            self._pace.accepted()
            return Observation(gone=True)
        except BasetenRateLimitError as error:
            self._pace.refused(error.retry_after)
            self._warn("Baseten asks for fewer status calls", error)
        except BasetenAuthError as error:
            self._warn("Baseten refuses the key; the connection is read again every minute", error)
            self._renew(client)
        except Exception as error:  # Losing sight of a request is not its failure.
            self._warn("a status call failed", error)
        else:
            self._pace.accepted()
            return Observation.of_status(answer)
        return Observation()

    def _plan(self, request: WaitingRequest) -> None:
        longest = request.waiter.poll_interval
        if request.wait.doubtful_since is not None:
            longest = min(longest, GRACE)
        delay = next_poll(request.polls, longest, random.random())  # noqa: S311 - only spreads calls.
        if request.wait.expects_delivery:  # The store tells more, and costs less.
            delay = max(delay, min(longest, self._look_interval))
        self._schedule.add(request, delay)

    async def _cancel(self, target: Target, request_id: str) -> None:
        client = await self._connected()
        await self._pace.turn()
        try:
            canceled = await client.cancel_async_request(target, request_id)
        except Exception as error:
            log.warning("Async request %s may still run: it could not be cancelled. %s", request_id, _words(error))
        else:
            log.info("Async request %s %s.", request_id, cancel_words(canceled))

    async def _connected(self) -> AsyncClient:
        """Return the client once the connection could be read."""
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
        """End the waits that began a while ago and never had a connection."""
        latest = time.monotonic() - _CONNECTION_GRACE
        for waiter in [*self._waiters]:
            if self._connected_at < waiter.joined_at <= latest and not waiter.ended.is_set():
                waiter.end(_no_connection(self._conn_id, error, waiter.open))

    def _renew(self, refused: AsyncClient) -> None:
        """Read the connection again, for its key may have been replaced."""
        if time.monotonic() - self._renewed_at >= _PATIENCE:
            self._renewed_at = time.monotonic()
            self._source.renew(refused)

    def _warn(self, trouble: str, error: Exception | None) -> None:
        now = time.monotonic()
        if now - self._warned_at.get(trouble, float("-inf")) >= _PATIENCE:
            self._warned_at[trouble] = now
            waiting = sum(len(waiter.open) for waiter in self._waiters)
            for waiter in self._waiters:
                waiter.log.trouble = f"Connection '{self._conn_id}': {trouble}. {_words(error)}".rstrip()
            log.warning(
                "Connection '%s': %s. Still waiting for %d async requests. %s",
                self._conn_id,
                trouble,
                waiting,
                _words(error),
            )


def _no_connection(conn_id: str, error: Exception, request_ids: Collection[str]) -> BasetenError:
    """Return the error for a wait that never had a connection; a retry waits again, for the connection may be back."""
    kind = type(error) if isinstance(error, BasetenError) else BasetenUnavailableError
    words = str(error) if isinstance(error, BasetenError) else f"Reading it raised {type(error).__name__}."
    goes_on = "request goes" if len(request_ids) == 1 else "requests go"
    return kind(
        f"Connection '{conn_id}' could not be read by the triggerer for {_CONNECTION_GRACE:g} s, since it began to "
        f"wait for {name_of(request_ids)}. {words} Make the connection known to the triggerer too. The "
        f"{goes_on} on at Baseten; a retry of the task waits for the result again and sends nothing.",
        retryable=True,
        may_have_run=True,
    )


def _words(error: Any) -> str:
    """Say what happened; a foreign error's text may hold what must not be shown."""
    return str(error) if isinstance(error, BasetenError) else "" if error is None else type(error).__name__
