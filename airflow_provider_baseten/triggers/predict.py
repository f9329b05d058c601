"""Trigger that sends a predict request and waits for its response. No webhook receiver is needed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.client.call_log import CallLog
from airflow_provider_baseten.compat import BaseTrigger, TriggerEvent
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.hooks.shared_clients import shared_client
from airflow_provider_baseten.idempotency.deferred_call import Claim, DeferredCall
from airflow_provider_baseten.idempotency.orphans import check_orphan
from airflow_provider_baseten.storage import write_retries
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.outputs import predict_output_of
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.metrics import count_resent_predict

# Seconds between two checks whether another trigger has ended the call.
_CHECK_INTERVAL = 2.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class BasetenPredictTrigger(BaseTrigger):
    """Trigger that sends a predict request and waits for its response.

    A worker has written the request to the result store. The trigger writes the response, or an error, to the result
    store too. Then it yields one event, ``{"name"}``: the name under which the worker finds the response or the error.

    Before a trigger sends the request, it writes a claim: a record which says that it is about to send. If a triggerer
    dies, Airflow starts its triggers again in another triggerer. So a new trigger finds the files of an earlier
    trigger. If there is a response, the new trigger sends nothing. If there is a claim but no response, Baseten has
    cancelled the work, because the HTTP connection was closed. Then ``on_orphaned_request`` decides whether the new
    trigger sends the request again.

    Sometimes the earlier trigger is not dead: its machine was suspended after the trigger wrote its claim. When the
    machine resumes, the earlier trigger finds the claim of the new trigger, and waits for the response of the new
    trigger. The earlier trigger sends the request only if no response or error is stored within ``timeout`` seconds.

    :param baseten_conn_id: id of the Airflow connection.
    :param store: URI of the result store.
    :param name: name of the call (the request and its response) in the result store.
    :param timeout: seconds to wait for the response.
    :param on_orphaned_request: what happens if an earlier trigger has left a claim and no response: ``resubmit`` sends
        the request again, ``fail`` ends with ``BasetenOrphanedRequestError``.
    """

    def __init__(
        self, *, baseten_conn_id: str, store: str, name: str, timeout: float, on_orphaned_request: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.baseten_conn_id = baseten_conn_id
        self.store = store
        self.name = name
        self.timeout = timeout
        self.on_orphaned_request = on_orphaned_request

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments. They hold ids, addresses and numbers, but no input of the model."""
        arguments = {
            "baseten_conn_id": self.baseten_conn_id,
            "store": self.store,
            "name": self.name,
            "timeout": self.timeout,
            "on_orphaned_request": self.on_orphaned_request,
        }
        return f"{__name__}.{type(self).__name__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send the request if there is no response yet, and yield the event."""
        call, mine = DeferredCall(ResultStore(self.store), self.name), Claim(uuid4().hex, time.time())
        try:
            if await in_thread(call.response) is None:
                await self._respond(call, mine)
        except BasetenError as error:
            await _store(call.leave_error, error)
        yield TriggerEvent({"name": self.name})  # type: ignore[no-untyped-call]

    async def _respond(self, call: DeferredCall, mine: Claim) -> None:
        """Send the request and store the response, unless another trigger has taken over the call."""
        request = await in_thread(call.request)
        earlier = await in_thread(call.claim, mine)
        if await self._is_done_by_another(call, mine):
            return
        if earlier is not None:
            self._check_orphan(request.subject, earlier, mine)
            await in_thread(call.take_over, mine)
        try:
            response = await self._send(request)
        except BasetenError:
            with suppress(BasetenResultStoreError):  # A store error must not replace the request's error.
                if await self._is_done_by_another(call, mine):
                    return
            raise
        with consequence(
            f"The response of {request.subject}{id_note(response.request_id)} was paid for and is lost: the next "
            "attempt sends the request again, and pays again."
        ):
            await _store(call.leave_response, response)
        with suppress(BasetenResultStoreError):
            if (holder := await in_thread(call.holder)) != mine:
                log.warning(
                    "Trigger %s was suspended while it waited for %s, and trigger %s has sent it too: it is paid for "
                    "twice.",
                    mine.id,
                    request.subject,
                    holder.id if holder else "(unknown)",
                )

    async def _send(self, request: Request) -> Response:
        """Send the request and return the response.

        :raises BasetenError: no usable response was received. The next attempt of the task sends the request again.
        """
        async with shared_client(self.baseten_conn_id, timeout=self.timeout) as shared:
            try:
                client = await shared.client()
            except BasetenError as error:
                raise type(error)(
                    f"{error} The worker could read the connection: make it available to the triggerer too."
                ) from None
            call = CallLog(log, request)
            try:
                response = await client.send(request)
            except BasetenAuthError:
                shared.renew(client)
                raise
        call.log_response(response)
        await in_thread(predict_output_of, response)
        return response

    async def _is_done_by_another(self, call: DeferredCall, mine: Claim) -> bool:
        """Return whether a trigger that started later has claimed the call, and has stored a response or an error.

        If a later trigger has claimed the call, wait for its response or error, at most ``timeout`` seconds.

        Airflow moves the triggers of a suspended triggerer to another triggerer. When the suspended triggerer resumes,
        it continues its triggers for a while. During that time the same trigger runs twice.
        """
        holder = await in_thread(call.holder)
        if holder == mine or (holder is not None and holder.started_at <= mine.started_at):
            return False
        log.warning(
            "Trigger %s was suspended, and trigger %s has taken over its call. Trigger %s waits for the response.",
            mine.id,
            holder.id if holder else "(unknown)",
            mine.id,
        )
        deadline = time.monotonic() + self.timeout
        while not await in_thread(call.has_ended):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_CHECK_INTERVAL)
        return True

    def _check_orphan(self, subject: str, earlier: Claim, mine: Claim) -> None:
        check_orphan(
            self.on_orphaned_request,
            f"An earlier trigger no longer waits for {subject}: it was suspended, or its triggerer died. Baseten has "
            "cancelled the work, because the connection was closed; clear the task to send the request again.",
        )
        count_resent_predict()
        log.warning(
            "Trigger %s no longer waits for %s (its triggerer died or was suspended); trigger %s is sending it again.",
            earlier.id,
            subject,
            mine.id,
        )


async def _store(write: Callable[[T], None], result: T) -> None:
    """Write a response or an error to the result store.

    Retry for 15 minutes while the store is not available, because the response was paid for.
    """
    await write_retries.persist_async(partial(in_thread, write, result), seconds=write_retries.TRIGGERER_SECONDS)
