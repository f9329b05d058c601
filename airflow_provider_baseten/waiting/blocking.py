"""Blocking wait for async requests on a worker: status, outcome and output of each request."""

import random
import time
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten import config
from airflow_provider_baseten.api.quotes import redact_input
from airflow_provider_baseten.exceptions import BasetenError, BasetenNotFoundError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.encoding import Output
from airflow_provider_baseten.storage.outputs import stored_output, to_xcom
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.errors import error_of
from airflow_provider_baseten.waiting.log import Log, WaitLog, cancel_words, end_words, log_end
from airflow_provider_baseten.waiting.state import Observation, Outcome, Wait, poll_delay

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.client.client import Client

_CALL_TIMEOUT = 30.0
_STORE_INTERVAL = 2.0
# Seconds of one round of status calls for many requests, and failed calls in a row that end the round.
_LONGEST_LOOK = 10.0
_MOST_FAILURES = 3


class AsyncResults:
    """Async requests of one target, as a worker sees them.

    :param client: asks Baseten.
    :param target: what was called.
    :param store: where deliveries are.
    :param baseten_conn_id: id of the connection that has this result store.
    :param expects_delivery: whether outputs come by webhook.
    :param is_assumed: whether ``expects_delivery`` is a guess, which a known webhook status overrides.
    :param log: of the task.
    """

    #: Body of the submission, if it is known: error messages quote nothing of it.
    submission: bytes | None

    def __init__(
        self,
        client: "Client",
        target: "Target",
        *,
        store: ResultStore,
        baseten_conn_id: str,
        expects_delivery: bool,
        is_assumed: bool = False,
        log: Log,
    ) -> None:
        self.store = store
        self.expects_delivery = expects_delivery
        self.is_assumed = is_assumed
        self.submission: bytes | None = None
        self._conn_id = baseten_conn_id
        self._client = client.with_options(timeout=_CALL_TIMEOUT, max_attempts=1)
        self._target = target
        self._log = log

    def with_timeout(self, timeout: float) -> "AsyncResults":
        """Return the same with another timeout of each call.

        :param timeout: seconds.
        """
        other = copy(self)
        other._client = self._client.with_options(timeout=timeout)
        return other

    def wait(self, request_id: str, *, deadline: float, poll_interval: float) -> Outcome:
        """Block until a request has an outcome.

        :param deadline: seconds since the epoch.
        :param poll_interval: longest wait between two status calls, in seconds.
        """
        wait, lines = self.new_wait(deadline), WaitLog(self._log, [request_id], began=time.time())
        polls, next_call = 0, 0.0
        while True:
            now = time.time()
            call = now >= next_call
            if call:
                polls += 1
                next_call = now + poll_delay(polls, poll_interval, random.random())  # noqa: S311 - only spreads calls.
            seen = self.observe(request_id, ask=call)
            lines.note(request_id, seen)
            lines.write(time.time())
            wait = wait.after(seen, time.time())
            if wait.outcome is not None:
                return self.last_look(request_id, wait.outcome)
            soonest = min(
                next_call, deadline, time.time() + (_STORE_INTERVAL if self.expects_delivery else poll_interval)
            )
            time.sleep(max(0.05, soonest - time.time()))

    def new_wait(self, deadline: float) -> Wait:
        """Return the state of a wait that begins now.

        :param deadline: seconds since the epoch.
        """
        return Wait(expects_delivery=self.expects_delivery, is_assumed=self.is_assumed, deadline=deadline)

    def last_look(self, request_id: str, outcome: Outcome) -> Outcome:
        """Return the outcome of a wait, or success if the result has arrived since the store was read last."""
        if outcome is Outcome.ENDED or not self.observe(request_id, ask=False).delivered:
            return outcome
        return Outcome.ENDED

    def log_end(
        self,
        outcomes: Mapping[str, Outcome],
        seconds: float | None,
        *,
        result_path: str | None,
        delivered: Collection[str] | None = None,
    ) -> None:
        """Log the end of a wait in one line.

        :param seconds: duration of the wait.
        :param result_path: URI where the model stores its output.
        :param delivered: ids whose result is in the result store; by default the store is read, unless the outcomes
            say it.
        """
        if delivered is None:
            ended = [request_id for request_id, outcome in outcomes.items() if outcome is Outcome.ENDED]
            delivered = (self._delivered(ended) or set()) if self.is_assumed else ended if self.expects_delivery else ()
        is_stored = result_path is not None
        ends = {n: end_words(o, is_delivered=n in delivered, is_stored=is_stored) for n, o in outcomes.items()}
        log_end(self._log, ends, seconds)

    def observe(self, request_id: str, *, ask: bool = True) -> Observation:
        """Read the result store, then make a status call. Errors of either are logged and never end the wait.

        :param ask: whether to make the status call.
        """
        delivered = self._delivered([request_id])
        if delivered:
            return Observation(delivered=True)
        seen = self._ask(request_id) if ask else Observation()
        return replace(seen, store_read=delivered is not None)

    def look_at_all(self, request_ids: Collection[str], *, first: Collection[str] = ()) -> dict[str, Observation]:
        """Observe many requests in one round: one read of the result store, then status calls within ``[baseten]
        status_calls_per_second``, for at most ten seconds, in random order.

        :param first: ids whose status calls come before the others.
        :returns: observations by id, without the requests that had no turn.
        """
        delivered = self._delivered(request_ids)
        seen = {request_id: Observation(delivered=True) for request_id in delivered or ()}
        left = [request_id for request_id in request_ids if request_id not in seen]
        random.shuffle(left)
        left.sort(key=lambda request_id: request_id not in first)
        spacing = 1 / config.STATUS_CALLS_PER_SECOND.get()
        next_call = time.monotonic()
        until, failures = next_call + _LONGEST_LOOK, 0
        for request_id in left:
            time.sleep(max(0.0, next_call - time.monotonic()))
            if time.monotonic() >= until or failures >= _MOST_FAILURES:
                break
            next_call = time.monotonic() + spacing
            answer = self._ask(request_id)
            failures = failures + 1 if answer == Observation() else 0
            seen[request_id] = replace(answer, store_read=delivered is not None)
        return seen

    def _delivered(self, request_ids: Collection[str]) -> set[str] | None:
        """Return the requests whose result is in the store, ``None`` if the store can't be read."""
        try:
            return Deliveries(self.store).delivered(request_ids) if self.expects_delivery or self.is_assumed else set()
        except BasetenError as error:
            self._log.warning("Still waiting for %d async requests: %s", len(request_ids), error)
            return None

    def _ask(self, request_id: str) -> Observation:
        try:
            return Observation.of_status(self._client.get_async_request(self._target, request_id))
        except BasetenNotFoundError:
            return Observation(gone=True)
        except BasetenError as error:
            self._log.warning("Still waiting for async request %s: %s", request_id, error)
            return Observation()

    def output(self, request_id: str, *, result_path: str | None = None, output_path: str | None = None) -> Any:
        """Return the output of a request that succeeded, a reference to it, or, without webhook and result path, its
        id and status.

        :param result_path: URI where the model stores its output, with ``{request_id}`` for the id.
        :param output_path: URI to write a delivered output to.
        :raises BasetenAsyncRequestError: the delivery holds an error of the model.
        :raises BasetenResultLostError: the output is missing.
        """
        if result_path:
            uri = result_path.replace("{request_id}", request_id)
            return stored_output(uri, request_id, result_store=self.store.uri, baseten_conn_id=self._conn_id)
        delivery = Deliveries(self.store).load(request_id) if self.expects_delivery or self.is_assumed else None
        if delivery is None:
            if self.expects_delivery and not self.is_assumed:
                raise self.error(Outcome.LOST, request_id, timeout=0)
            return {"request_id": request_id, "status": "SUCCEEDED"}
        return to_xcom(
            Output.of_value(delivery.output(self._quote)),
            request_id,
            output_path=output_path,
            result_store=self.store.uri,
            baseten_conn_id=self._conn_id,
        )

    def error(self, outcome: Outcome, request_id: str, *, timeout: float) -> BasetenError:
        """Return the error for a request that ended without a result.

        :param timeout: longest wait in seconds.
        """
        try:
            status = self._client.get_async_request(self._target, request_id)
        except BasetenError:
            status = None
        return error_of(
            outcome,
            request_id,
            status=status,
            timeout=timeout,
            result_store=self.store.uri,
            quote=self._quote,
        )

    def _quote(self, words: str) -> str:
        return redact_input(words[:1000], self.submission) if self._client.credentials.error_details else ""

    def cancel(self, request_id: str) -> bool:
        """Cancel a request if it is still queued; return whether it was cancelled. Errors are logged."""
        try:
            canceled = self._client.cancel_async_request(self._target, request_id)
        except BasetenError as error:
            self._log.warning("Async request %s may still run: it could not be cancelled. %s", request_id, error)
            return False
        self._log.info("Async request %s %s.", request_id, cancel_words(canceled))
        return canceled
