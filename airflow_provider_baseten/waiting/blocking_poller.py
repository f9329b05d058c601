"""Blocking poller: waits for async requests on a worker."""

import random
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_baseten import config
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.spans import wait_span
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.state import Observation, Outcome
from airflow_provider_baseten.waiting.waiter import Waiter

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.client.client import Client

# A round of status calls ends after `_MAX_ROUND_SECONDS` seconds, or after `_MAX_FAILURES` failed calls in a row.
_MAX_ROUND_SECONDS = 10.0
_MAX_FAILURES = 3


class BlockingPoller:
    """Waits for async requests on a worker, as :class:`~airflow_provider_baseten.waiting.poller.Poller` does in a
    triggerer.

    An error of a status call or of a read of the result store is logged, and never ends a wait.

    :param client: client that makes the status calls.
    :param store: the result store.
    :param log: log of the task.
    """

    def __init__(self, client: "Client", store: ResultStore, log: Log) -> None:
        self._client = client
        self._store = store
        self._log = log
        # The options are read here, so that an option that is not valid raises an error before anything is sent.
        self._call_interval = 1 / config.STATUS_CALLS_PER_SECOND.get()
        self._store_interval = config.STORE_CHECK_INTERVAL.get()

    def wait(self, waiter: Waiter) -> None:
        """Block until each request has an outcome or the deadline has passed."""
        with wait_span(waiter.target, waiter.request_ids, waiter.outcomes):
            self._wait(waiter)

    def _wait(self, waiter: Waiter) -> None:
        while True:
            self.poll(waiter)
            now = time.time()
            if now >= waiter.deadline:
                waiter.settle_late(now)
            if not waiter.open:
                return
            next_read = now + (self._store_interval if waiter.may_be_delivered else waiter.poll_interval)
            next_round = min(next_read, waiter.deadline, *(request.due_at for request in waiter.open.values()))
            time.sleep(max(0.05, next_round - time.time()))

    def poll(self, waiter: Waiter) -> None:
        """Look once at the requests that have no outcome yet, and log the changes.

        The method reads the result store once. Then it makes the status calls that are due, for ten seconds at most, at
        the rate of ``[baseten] status_calls_per_second``. Requests that look lost come first; otherwise the order is
        random. A request whose turn does not come within the ten seconds keeps its state.
        """
        before = waiter.log.statuses
        delivered = self.delivered([*waiter.open]) if waiter.may_be_delivered else set()
        for request_id in delivered or ():
            self._take(waiter, request_id, Observation(delivered=True))
        for request in waiter.open.values():
            request.seen = replace(request.seen, store_read=delivered is not None)
        next_call = time.monotonic()
        until, failures = next_call + _MAX_ROUND_SECONDS, 0
        for request_id in _due(waiter):
            time.sleep(max(0.0, next_call - time.monotonic()))
            if time.monotonic() >= until or failures >= _MAX_FAILURES:
                break
            next_call = time.monotonic() + self._call_interval
            seen = self.ask(waiter.target, request_id)
            failures = failures + 1 if seen == Observation() else 0
            self._take(waiter, request_id, replace(seen, store_read=delivered is not None))
        waiter.log.write(time.time())
        if waiter.log.statuses != before:
            waiter.on_change()

    def _take(self, waiter: Waiter, request_id: str, seen: Observation) -> None:
        request, now = waiter.open[request_id], time.time()
        outcome = request.take(seen, now)
        # A timeout is not settled here, because `wait` settles all late requests after the deadline.
        if outcome not in {None, Outcome.TIMEOUT}:
            waiter.settle(request_id, outcome)
        request.polls += 1
        request.due_at = now + request.delay(random.random())  # noqa: S311 - only spreads calls.

    def delivered(self, request_ids: Collection[str]) -> set[str] | None:
        """Return the ids of the requests whose result is in the result store, ``None`` if the store can't be read."""
        try:
            return Deliveries(self._store).delivered(request_ids)
        except BasetenError as error:
            self._log.warning("Still waiting for %d async requests: %s", len(request_ids), error)
            return None

    def ask(self, target: "Target", request_id: str) -> Observation:
        """Make a status call for one request, and return the state of the request as far as the call shows it."""
        try:
            return Observation.of_status(self._client.get_async_request(target, request_id))
        except BasetenError as error:
            seen = Observation.of_status(error)
            if not seen.gone:
                self._log.warning("Still waiting for async request %s: %s", request_id, error)
            return seen


def _due(waiter: Waiter) -> list[str]:
    """Return the ids of the requests whose status call is due, in the order of the calls."""
    now = time.time()
    due = [request for request in waiter.open.values() if request.due_at <= now]
    random.shuffle(due)
    due.sort(key=lambda request: request.wait.doubtful_since is None)
    return [request.request_id for request in due]
