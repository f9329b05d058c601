"""Submission: the async request of a task instance, sent once for all its attempts."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.api.async_predict import request_id_of
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.compat import count_resumable_job
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.idempotency.ledger import (
    Attach,
    Entry,
    Replace,
    fingerprint_request,
    intent,
    open_ledger,
    plan,
    write_persistently,
)
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.outputs import stored_uris
from airflow_provider_baseten.waiting.progress import WaitProgress
from airflow_provider_baseten.waiting.state import Outcome

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_provider_baseten.hooks.baseten import BasetenHook
    from airflow_provider_baseten.idempotency.orphans import OnOrphanedRequest
    from airflow_provider_baseten.operators.wait_report import WaitReport
    from airflow_provider_baseten.waiting.results import AsyncResults


class Submission:
    """The async request of a task instance. One attempt sends it, and each later attempt finds it in the ledger.

    The ledger is a record that outlives an attempt. Before the request is sent, the ledger records that the
    request is about to be sent. Right after the request was sent, the ledger records its id. So a retry does not pay
    again. If a worker died while it sent the request, ``on_orphaned_request`` decides whether the next attempt sends it
    again. See :mod:`~airflow_provider_baseten.idempotency.ledger`.

    :param operator: operator of the task, for its log.
    :param context: context of the task.
    :param results: object that can wait for the request or cancel it.
    :param request_id: id of the request if the task resumes after a deferral; otherwise empty, because the id
        is not known yet.
    """

    #: The request, once the attempt has begun to send it; ``None`` before. As long as the id of the request is not
    #: known, Baseten may or may not have queued the request.
    in_flight: Request | None = None

    def __init__(
        self, operator: "BaseOperator", context: "Context", results: "AsyncResults", request_id: str = ""
    ) -> None:
        self.results = results
        #: Id of the request; empty until it is known.
        self.request_id = request_id
        self._operator = operator
        self._context = context
        self._ledger = open_ledger(context, results.store)
        self._is_killed = False

    def ensure_sent(self, request: Request, hook: "BasetenHook", on_orphaned_request: "OnOrphanedRequest") -> str:
        """Send the request, or find the request that an earlier attempt has sent. Return the id of the request.

        :raises BasetenOrphanedRequestError: an earlier attempt died while it sent the request, and
            ``on_orphaned_request`` is ``fail``.
        :raises BasetenResultStoreError: the ledger can't be read or written.
        """
        log = self._operator.log
        with consequence("This attempt sent nothing."):
            entry = self._ledger.read()
        wanted = intent(self._context, fingerprint_request(request))
        match plan(entry, wanted, on_orphaned_request):
            case Attach(request_id) if not self.results.was_cancelled(request_id):
                log.info("Attached to async request %s, which an earlier attempt sent.", request_id)
                count_resumable_job("reconnect_success", self._operator)
                self._watch(request_id)
                return request_id
            case Replace(request_id):
                log.info(
                    "The task was cleared, its input has changed or its run was made again: async request %s is "
                    "replaced.",
                    request_id,
                )
                self.results.cancel(request_id)
        if entry is not None and entry.request_id is None:
            log.warning("An earlier attempt died while it sent its request, which may run too; sending it again.")
        with consequence("This attempt sent nothing."):
            self._ledger.write(wanted)
        request_id = self._send(request, hook)
        self._watch(request_id)
        self._record(replace(wanted, request_id=request_id))
        log.info("Sent %s: request id %s.", request.subject, request_id)
        count_resumable_job("fresh_submit" if entry is None else "terminal_resubmit", self._operator)
        return request_id

    def wait(
        self,
        began: float,
        deadline: float,
        poll_interval: float,
        report: "WaitReport",
    ) -> Outcome:
        """Block until the request has an outcome or the deadline has passed.

        :param began: start of the task in seconds since the epoch.
        :param deadline: end of the wait in seconds since the epoch.
        :param poll_interval: longest wait between two status calls, in seconds.
        :param report: report of the wait for the pages.
        """
        waiter = self.results.new_waiter([self.request_id], deadline, poll_interval, WaitProgress(began=began))
        waiter.on_change = lambda: report(waiter.log.statuses, waiter.log.running_at)
        self.results.wait(waiter)
        return waiter.outcomes[self.request_id]

    def output(self, result_path: str | None, output_path: str | None) -> Any:
        """Return the output of the request, or a reference to the output. The request has succeeded.

        :param result_path: URI where the model stores its output; ``None`` if it stores none.
        :param output_path: URI where this method writes an output that came by webhook; ``None`` to write it only if it
            can't go to XCom.
        """
        with consequence("The next attempt waits for this request again and sends nothing."):
            return self.results.output(self.request_id, result_path=result_path, output_path=output_path)

    def summary(self, output: Any = None) -> TaskSummary:
        """Return what the task has done.

        :param output: what the task returns; ``None`` if it does not wait for the request.
        """
        return TaskSummary(
            target=self.results.target, request_ids=(self.request_id,), requests=1, outputs=stored_uris(output)
        )

    def interruption_note(self, on_orphaned_request: "OnOrphanedRequest") -> str | None:
        """Return sentences on what happens to the request if the task ends now; ``None`` if nothing was sent."""
        if self.request_id:
            return (
                f"Async request {self.request_id} was sent, and may run and be billed. The next attempt waits for it "
                "again, unless it was cancelled."
            )
        if self.in_flight is None:
            return None
        again = "sends it again" if on_orphaned_request == "resubmit" else "fails"
        return (
            f"{self.in_flight.subject} was being sent: whether Baseten has queued it is unknown. The next attempt "
            f"{again}."
        )

    def delete(self, note: str) -> None:
        """Delete the record of a request that was refused or ended without success. A retry then sends a new request.

        :param note: sentence that is added to the error if the record can't be deleted.
        """
        with consequence(note):
            self._ledger.delete()

    def kill(self) -> None:
        """Cancel the request if it is still queued. If its id is not known yet, cancel it when the id is known."""
        self._is_killed = True
        if self.request_id:
            self.results.cancel_quickly(self.request_id)

    def _watch(self, request_id: str) -> None:
        self.request_id = request_id
        if self._is_killed:
            self.kill()

    def _send(self, request: Request, hook: "BasetenHook") -> str:
        self.in_flight = request
        try:
            with hook.client() as client:
                return request_id_of(client.send(request).output(), request.subject)
        except BasetenError as error:
            if not error.may_have_run:
                self.delete(
                    f"The request was not accepted: {error} But its record stays, so that on_orphaned_request decides "
                    "whether the next attempt sends it again."
                )
            raise

    def _record(self, entry: Entry) -> None:
        """Record the id of the request that was sent.

        If the id can't be recorded, cancel the request, because a retry can't find the request and may send another.
        """
        try:
            with consequence(
                f"Async request {entry.request_id} was sent, but the next attempt does not find its id: "
                "on_orphaned_request decides whether it sends another one."
            ):
                write_persistently(self._ledger, entry)
        except Exception:
            self._operator.log.error("Async request %s was sent, but that could not be recorded.", entry.request_id)
            self.results.cancel(str(entry.request_id))
            raise
