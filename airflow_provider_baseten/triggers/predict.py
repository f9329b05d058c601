"""Predicts that the triggerer sends, for an Airflow that no webhook can reach."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import tenacity
from asgiref.sync import sync_to_async

from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client.call_log import CallLog
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.compat import BaseTrigger, TriggerEvent
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenResultStoreError,
)
from airflow_provider_baseten.hooks.shared_clients import shared_client
from airflow_provider_baseten.idempotency.deferred_call import Claim, DeferredCall
from airflow_provider_baseten.idempotency.orphans import check_orphan
from airflow_provider_baseten.storage.files import consequence
from airflow_provider_baseten.storage.outputs import predict_output_of
from airflow_provider_baseten.storage.result_store import ResultStore

_STORE_PATIENCE = 900.0
_STORE_WAIT = 30.0
# Seconds between two looks for what another trigger leaves.
_LOOK_INTERVAL = 2.0

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class BasetenPredictTrigger(BaseTrigger):
    """Send the request that a worker left in the result store, and leave the answer there.

    Ends with one event that says where to look: ``{"name"}``. A triggerer that takes over from a dead one finds the
    answer, or the claim of a trigger that never ended: Baseten cancels work whose client has gone, so the request may
    be sent again. A trigger that was only stopped sees the claim of the one that took over, and sends nothing if it has
    not done so yet.

    :param baseten_conn_id: id of the Airflow connection.
    :param store: URI of the result store.
    :param name: of the call in it.
    :param timeout: seconds to wait for the answer.
    :param on_orphaned_request: ``resubmit`` or ``fail`` after a trigger that never ended.
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
        """Return the class path and the arguments: ids, addresses and numbers, no input."""
        arguments = {
            "baseten_conn_id": self.baseten_conn_id,
            "store": self.store,
            "name": self.name,
            "timeout": self.timeout,
            "on_orphaned_request": self.on_orphaned_request,
        }
        return f"{__name__}.{type(self).__name__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send the request unless its answer is there, and tell that there is one."""
        call, mine = DeferredCall(ResultStore(self.store), self.name), Claim(uuid4().hex, time.time())
        try:
            if await _in_thread(call.response) is None:
                await self._answer(call, mine)
        except BasetenError as error:
            await _left(call.leave_error, error)
        yield TriggerEvent({"name": self.name})  # type: ignore[no-untyped-call]

    async def _answer(self, call: DeferredCall, mine: Claim) -> None:
        """Leave an answer, unless a trigger that has taken over does."""
        request = await _in_thread(call.request)
        earlier = await _in_thread(call.claim, mine)
        if await self._is_left_to_another(call, mine):
            return
        if earlier is not None:
            self._meet_orphan(request.subject, earlier, mine)
            await _in_thread(call.take_over, mine)
        try:
            response = await self._send(request)
        except BasetenError:
            with suppress(BasetenResultStoreError):  # What Baseten answered matters more.
                if await self._is_left_to_another(call, mine):
                    return
            raise
        with consequence(
            f"The response of {request.subject}{id_note(response.request_id)} was paid and is lost: the next try sends "
            "the request, and pays, again."
        ):
            await _left(call.leave_response, response)
        with suppress(BasetenResultStoreError):
            if (holder := await _in_thread(call.holder)) != mine:
                log.warning(
                    "Trigger %s was stopped while it waited for %s, and trigger %s has sent it too: it is paid twice.",
                    mine.id,
                    request.subject,
                    holder.id if holder else "(unknown)",
                )

    async def _send(self, request: Request) -> Response:
        """Return an answer that can be used; anything else is an error, after which the next attempt sends again."""
        retries = RequestRetries()
        async with shared_client(self.baseten_conn_id, timeout=self.timeout, request_retries=retries) as shared:
            try:
                client = await shared.client()
            except BasetenError as error:
                raise type(error)(f"{error} The worker could read it: make it known to the triggerer too.") from None
            call = CallLog(log, request)
            try:
                response = await client.send(request)
            except BasetenAuthError:
                shared.renew(client)
                raise
        call.answered(response)
        await _in_thread(predict_output_of, response)
        return response

    async def _is_left_to_another(self, call: DeferredCall, mine: Claim) -> bool:
        """Tell whether a trigger that began later has claimed the call; wait for what it leaves.

        Airflow gives the triggers of a triggerer that stands still to another one, and the first one goes on with them
        for a while when it is back.
        """
        holder = await _in_thread(call.holder)
        if holder == mine or (holder is not None and holder.started_at <= mine.started_at):
            return False
        log.warning(
            "Trigger %s was stopped, and trigger %s has taken its call over: it sends nothing.",
            mine.id,
            holder.id if holder else "(unknown)",
        )
        deadline = time.monotonic() + self.timeout
        while not await _in_thread(call.has_ended):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK_INTERVAL)
        return True

    def _meet_orphan(self, subject: str, earlier: Claim, mine: Claim) -> None:
        from airflow_provider_baseten.compat import Stats

        check_orphan(
            self.on_orphaned_request,
            f"An earlier trigger no longer waits for {subject}: it was stopped, or its triggerer died. Baseten cancels "
            "work whose client has gone; clear the task to send it again.",
        )
        Stats.incr("baseten.predict.resent")
        log.warning(
            "Trigger %s no longer waits for %s (it was stopped, or its triggerer died or stands still); trigger %s "
            "is sending it again.",
            earlier.id,
            subject,
            mine.id,
        )


async def _left(leave: Callable[[T], None], end: T) -> None:
    """Leave an answer, which is paid for, or an error. A store that is away for a while loses neither."""
    storing = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BasetenResultStoreError),
        wait=tenacity.wait_exponential(max=_STORE_WAIT),
        stop=tenacity.stop_after_delay(_STORE_PATIENCE),
        reraise=True,
    )
    await storing(_in_thread, leave, end)


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    # Not asyncio.to_thread: in Airflow 3.1 only threads of asgiref may read the connection of a store.
    return await sync_to_async(call, thread_sensitive=False)(*args, **kwargs)
