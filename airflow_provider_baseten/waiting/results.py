"""Results of async requests, as a worker reads them: output, error or cancellation of each request."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_baseten.api.async_predict import AsyncStatus
from airflow_provider_baseten.api.quotes import redact_input
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.encoding import Output
from airflow_provider_baseten.storage.outputs import save_output, stored_output
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.waiting.blocking_poller import BlockingPoller
from airflow_provider_baseten.waiting.call_limits import CALL_ATTEMPTS, CALL_TIMEOUT
from airflow_provider_baseten.waiting.errors import error_of
from airflow_provider_baseten.waiting.log import Log, end_words, log_cancel, log_wait_end
from airflow_provider_baseten.waiting.progress import WaitProgress
from airflow_provider_baseten.waiting.state import Outcome
from airflow_provider_baseten.waiting.waiter import Waiter

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target
    from airflow_provider_baseten.client.client import Client

# Seconds to wait for the response to a cancel call in `on_kill`. The wait is short, because Airflow kills the process
# five seconds after it has asked the process to end.
_KILL_TIMEOUT = 3.0


class AsyncResults:
    """Waits on a worker for async requests to one model or chain. Also reads their results, and cancels requests.

    An object of this class opens connections to Baseten: close it, or use it in ``with``.

    :param client: client whose credentials and settings are used.
    :param target: the model or chain that was called.
    :param store: the result store.
    :param baseten_conn_id: id of the Airflow connection whose result store is ``store``.
    :param expects_delivery: whether outputs come by webhook.
    :param is_assumed: whether ``expects_delivery`` is a guess. If a status call returns a webhook status, this status
        overrides the guess.
    :param sent_body: body of the request that was sent, ``None`` if it is not known. If an error message quotes the
        body, the quote is redacted.
    :param log: log of the task.
    """

    def __init__(
        self,
        client: "Client",
        target: "Target",
        *,
        store: ResultStore,
        baseten_conn_id: str,
        expects_delivery: bool,
        is_assumed: bool = False,
        sent_body: bytes | None = None,
        log: Log,
    ) -> None:
        self.target = target
        self.store = store
        self.expects_delivery = expects_delivery
        self.is_assumed = is_assumed
        self._sent_body = sent_body
        self._conn_id = baseten_conn_id
        self._client = client.with_options(timeout=CALL_TIMEOUT, max_attempts=CALL_ATTEMPTS)
        self._log = log
        self._poller = BlockingPoller(self._client, store, log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to Baseten."""
        self._client.close()

    def new_waiter(
        self,
        request_ids: Iterable[str],
        deadline: float,
        poll_interval: float,
        progress: WaitProgress | None = None,
    ) -> Waiter:
        """Return a waiter for requests that were sent to the target.

        The parameters are those of :class:`~airflow_provider_baseten.waiting.waiter.Waiter`.
        """
        return Waiter(
            self.target,
            request_ids,
            expects_delivery=self.expects_delivery,
            is_assumed=self.is_assumed,
            deadline=deadline,
            poll_interval=poll_interval,
            log=self._log,
            progress=progress,
        )

    def wait(self, waiter: Waiter) -> None:
        """Block until each request has an outcome or the deadline has passed."""
        self._poller.wait(waiter)

    def poll(self, waiter: Waiter) -> None:
        """Look once at the requests that have no outcome yet."""
        self._poller.poll(waiter)

    def check_again(self, outcomes: Mapping[str, str]) -> dict[str, Outcome]:
        """Read the result store again, and return the outcomes of a wait.

        A request whose result has arrived meanwhile gets the outcome ``ENDED``; the others keep their outcome.

        :param outcomes: outcomes by request id, as ``Outcome`` or as the text in the event of a trigger.
        """
        found = {request_id: Outcome(outcome) for request_id, outcome in outcomes.items()}
        without_result = [request_id for request_id, outcome in found.items() if outcome is not Outcome.ENDED]
        return found | dict.fromkeys(self._arrived(without_result), Outcome.ENDED)

    def late(self, outcomes: Mapping[str, Outcome]) -> list[str]:
        """Return the ids of the requests that had no result in time."""
        return [request_id for request_id, outcome in outcomes.items() if outcome is Outcome.TIMEOUT]

    def first_error(self, outcomes: Mapping[str, Outcome], *, timeout: float) -> BasetenError | None:
        """Return the error for the first request that failed or was lost, ``None`` if there is no such request.

        :param timeout: longest wait in seconds.
        """
        for request_id, outcome in outcomes.items():
            if outcome in {Outcome.FAILED, Outcome.LOST}:
                return self.error(outcome, request_id, timeout=timeout)
        return None

    def _arrived(self, request_ids: Collection[str]) -> Collection[str]:
        """Return the ids of those requests whose result is in the result store. The store is read at most once."""
        if not request_ids or not self._may_be_delivered:
            return ()
        return self._poller.delivered(request_ids) or ()

    @property
    def _may_be_delivered(self) -> bool:
        return self.expects_delivery or self.is_assumed

    def log_outcomes(
        self,
        outcomes: Mapping[str, Outcome],
        seconds: float | None,
        *,
        result_path: str | None,
        waiter: Waiter | None = None,
    ) -> dict[str, int]:
        """Log the end of a wait in one line. Return the number of requests by the words that say how their wait ended.

        :param seconds: duration of the wait.
        :param result_path: URI where the model stores its output.
        :param waiter: waiter that this process used; ``None`` if the wait took place in a triggerer.
        """
        if waiter is not None:
            delivered: Collection[str] = waiter.delivered
            outcomes = {request_id: outcomes.get(request_id, Outcome.TIMEOUT) for request_id in waiter.request_ids}
        else:
            ended = [request_id for request_id, outcome in outcomes.items() if outcome is Outcome.ENDED]
            delivered = ended if self.expects_delivery else ()
            if self.is_assumed:
                delivered = self._poller.delivered(ended) or ()
        is_stored = result_path is not None
        ends = {n: end_words(o, is_delivered=n in delivered, is_stored=is_stored) for n, o in outcomes.items()}
        log_wait_end(self._log, ends, seconds)
        return dict(Counter(ends.values()))

    def was_cancelled(self, request_id: str) -> bool:
        """Return whether a request was cancelled before it began to run. ``False`` if its status is not known."""
        return not self._arrived([request_id]) and (
            self._poller.ask(self.target, request_id).status == AsyncStatus.CANCELED
        )

    def output(self, request_id: str, *, result_path: str | None = None, output_path: str | None = None) -> Any:
        """Return the output of a request that succeeded, or a reference to the output.

        If the output comes neither by webhook nor at a result path, return the id and the status of the request.

        :param result_path: URI where the model stores its output, with ``{request_id}`` for the id.
        :param output_path: URI to write a delivered output to.
        :raises BasetenAsyncRequestError: the delivery holds an error of the model.
        :raises BasetenResultLostError: the output is missing.
        """
        if result_path:
            uri = result_path.replace("{request_id}", request_id)
            return stored_output(uri, request_id, result_store=self.store.uri, baseten_conn_id=self._conn_id)
        delivery = Deliveries(self.store).load(request_id) if self._may_be_delivered else None
        if delivery is None:
            if self.expects_delivery and not self.is_assumed:
                raise self.error(Outcome.LOST, request_id, timeout=0)
            return {"request_id": request_id, "status": "SUCCEEDED"}
        return save_output(
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
            status = self._client.get_async_request(self.target, request_id)
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
        return redact_input(words[:1000], self._sent_body) if self._client.credentials.error_details else ""

    def cancel(self, request_id: str) -> bool:
        """Cancel a request if it is still queued; return whether it was cancelled. Errors are logged."""
        return self._cancel(self._client, request_id)

    def cancel_quickly(self, request_id: str) -> bool:
        """Cancel a request as :meth:`cancel` does, but within three seconds, because Airflow soon kills the process."""
        with self._client.with_options(timeout=_KILL_TIMEOUT) as client:
            return self._cancel(client, request_id)

    def _cancel(self, client: "Client", request_id: str) -> bool:
        try:
            result: bool | BasetenError = client.cancel_async_request(self.target, request_id)
        except BasetenError as error:
            result = error
        return log_cancel(self._log, request_id, result)
