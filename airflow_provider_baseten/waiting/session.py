"""Session of a poller: its client and its background task. They exist only while triggers use the poller."""

import asyncio
import contextvars
import logging
import random
import time

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.client import AsyncClient
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenRateLimitError
from airflow_provider_baseten.telemetry import metrics
from airflow_provider_baseten.waiting.client_source import ClientSource
from airflow_provider_baseten.waiting.errors import no_connection
from airflow_provider_baseten.waiting.limiter import StatusCallLimiter
from airflow_provider_baseten.waiting.log import error_words, log_cancel
from airflow_provider_baseten.waiting.schedule import Schedule
from airflow_provider_baseten.waiting.state import GRACE, Observation, Outcome
from airflow_provider_baseten.waiting.store_poller import StorePoller
from airflow_provider_baseten.waiting.throttle import Throttle
from airflow_provider_baseten.waiting.trigger_waiter import TriggerWaiter
from airflow_provider_baseten.waiting.waiter import WaitingRequest

log = logging.getLogger(__name__)

_CALLS_IN_FLIGHT = 32
# While the connection can't be read, the session tries again every `_RECONNECT` seconds. The failures end a wait only
# if all tries in the first `_CONNECTION_GRACE` seconds of the wait fail. So the wait survives a short outage of
# Airflow's API server or of a secrets backend. After one successful try, the wait survives an outage of any length.
_RECONNECT = 5.0
_CONNECTION_GRACE = 120.0
# Seconds between two values of the metric of waiting requests.
_GAUGE_INTERVAL = 10.0
# Number of requests after which `_read_store` pauses, so that other tasks of the event loop can run.
_AT_ONCE = 100


class Session:
    """Observes the async requests of all triggers that wait over one connection, and records their outcomes.

    It reads the result store for all requests at once, and makes status calls within a rate limit. A failed read or
    status call never ends a wait. If the connection can't be read during the first two minutes of a wait, the wait
    ends, because the triggerer probably does not have the connection.

    A session begins with its construction, and ends with :meth:`close`.

    :param baseten_conn_id: id of the Airflow connection, for messages.
    :param source: source of the client; :meth:`close` closes it.
    :param limiter: rate limiter of the calls.
    :param store_poller: reader of the result store.
    :param throttle: throttle of warnings, and of attempts to read a new API key.
    """

    def __init__(
        self,
        baseten_conn_id: str,
        source: ClientSource,
        *,
        limiter: StatusCallLimiter,
        store_poller: StorePoller,
        throttle: Throttle,
    ) -> None:
        #: Number of waits and cancellations that use this session.
        self.users = 0
        self._conn_id = baseten_conn_id
        self._source = source
        self._limiter = limiter
        self._store_poller = store_poller
        self._throttle = throttle
        self._waiters: set[TriggerWaiter] = set()
        self._schedule: Schedule[WaitingRequest] = Schedule()
        # Requests that look lost. The next read of the result store decides whether they are lost.
        self._missing: set[WaitingRequest] = set()
        self._connected_at = float("-inf")
        # The work runs in a new context. If it ran in the context of the first trigger, the log lines about all
        # triggers would go to the log of that trigger's task.
        self._work = asyncio.create_task(self._keep_working(), context=contextvars.Context())
        self._work.add_done_callback(self._end_all)

    def join(self, waiter: TriggerWaiter) -> None:
        """Begin to observe the requests of a trigger. If a bug has ended the background task, raise its error."""
        self.check()
        waiter.joined_at = time.monotonic()
        waiter.needs_store_read = waiter.may_be_delivered and bool(waiter.open)
        self._waiters.add(waiter)
        for request in waiter.open.values():
            self._plan(request)

    def leave(self, waiter: TriggerWaiter) -> None:
        """Stop observing the requests of a trigger."""
        self._waiters.discard(waiter)
        waiter.open.clear()

    def check(self) -> None:
        """If a bug has ended the background task, raise its error."""
        if self._work.done():
            self._work.result()

    async def cancel(self, target: Target, request_id: str) -> None:
        """Cancel a request if it is still queued; failures are logged."""
        client = await self._connected()
        await self._limiter.turn()
        try:
            result: bool | Exception = await client.cancel_async_request(target, request_id)
        except Exception as error:
            result = error
        log_cancel(log, request_id, result)

    async def close(self) -> None:
        """End the work, and close the client."""
        self._work.cancel()
        await asyncio.wait({self._work})
        metrics.waiting.set(self, 0)
        await self._source.close()

    def _end_all(self, _: asyncio.Task[None]) -> None:
        # A session is closed only after its last waiter has left. So if waiters are still here, a bug has ended the
        # background task, and they would wait in vain.
        for waiter in self._waiters:
            waiter.end()

    async def _keep_working(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_reading())
            group.create_task(self._keep_asking())
            group.create_task(self._keep_counting())

    async def _keep_counting(self) -> None:
        while True:
            metrics.waiting.set(self, self._number_waiting())
            await asyncio.sleep(_GAUGE_INTERVAL)

    def _number_waiting(self) -> int:
        return sum(len(waiter.open) for waiter in self._waiters)

    async def _keep_reading(self) -> None:
        while True:
            await self._read_store()
            await asyncio.sleep(self._store_poller.interval)

    async def _read_store(self) -> None:
        """Read the result store, and end the wait for the requests whose result is there.

        If a request looked lost before this read, and its result is still not in the store, its wait ends as lost.
        """
        waiters = [waiter for waiter in self._waiters if waiter.may_be_delivered]
        names = {name for waiter in waiters for name in waiter.open}
        if not names:
            return
        missing = {request for request in self._missing if request.is_open}
        self._missing = {*missing}
        delivered = await self._store_poller.delivered(self._source, names, self._warn)
        if delivered is None:
            return
        # While the store was not available, the webhook receiver kept new deliveries elsewhere. It may still be writing
        # them to the store, so no request counts as lost yet.
        if not self._store_poller.was_readable_for(GRACE):
            missing = set()
        found: set[WaitingRequest] = set()
        if delivered:
            found = {request for waiter in waiters for name, request in waiter.open.items() if name in delivered}
        ended = [*found, *(missing - found)]
        for number, request in enumerate(ended, 1):
            if request.is_open:
                if request in found:
                    request.take(Observation(delivered=True), time.time())
                request.waiter.settle(request.request_id, Outcome.ENDED if request in found else Outcome.LOST)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for waiter in waiters:
            if waiter.needs_store_read and time.time() >= waiter.deadline:
                waiter.end()
            waiter.needs_store_read = False

    async def _keep_asking(self) -> None:
        free = asyncio.Semaphore(_CALLS_IN_FLIGHT)
        async with asyncio.TaskGroup() as calls:
            while True:
                await free.acquire()
                request = await self._schedule.next()
                while not request.is_open:
                    request = await self._schedule.next()
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
            case Outcome.TIMEOUT:  # The poller settles the request at the deadline.
                return
            case Outcome.LOST if request.waiter.may_be_delivered:
                # The result may be in the store. The next read of the store decides whether the request is lost.
                self._missing.add(request)
            case outcome:
                request.waiter.settle(request.request_id, outcome)

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
                # A key that stays invalid is refused in every call. So a client is discarded at most once a minute.
                if self._throttle.allows("renew the client"):
                    self._source.renew(client)
            case _:
                self._warn("a status call failed", error)

    def _plan(self, request: WaitingRequest) -> None:
        # If a delivery is expected, the next status call comes after the next read of the store. The read is cheaper,
        # and if it finds the result, no status call is needed.
        least = self._store_poller.interval if request.wait.expects_delivery else 0.0
        delay = request.delay(random.random(), least)  # noqa: S311 - only spreads calls.
        self._schedule.add(request, delay)

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
        for waiter in self._waiters:
            if self._connected_at < waiter.joined_at <= latest and not waiter.ended.is_set():
                waiter.end(no_connection(self._conn_id, error, waiter.open, after=_CONNECTION_GRACE))

    def _warn(self, problem: str, error: Exception | None) -> None:
        if not self._throttle.allows(problem):
            return
        words = error_words(error) if error else ""
        for waiter in self._waiters:
            waiter.log.problem = f"Connection '{self._conn_id}': {problem}. {words}".rstrip()
        waiting = self._number_waiting()
        log.warning(
            "Connection '%s': %s. Still waiting for %d async requests. %s", self._conn_id, problem, waiting, words
        )
