"""The way of a delivery from its arrival to the result store, or to the spool."""

import logging
from collections.abc import Callable
from functools import partial

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.clock import Clock, seconds_of, words
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import Attempt, Authentic, Refused, identify
from airflow_provider_baseten.webhook.spool import Kind, Note, Spool
from airflow_provider_baseten.webhook.threads import Threads

_THREADS = 8
_SPOOL_THREADS = 2
# Shares of the time for one delivery: for the spool, and for a free thread while others hang in the store.
_SPOOL_SHARE = 0.25
_QUEUE_SHARE = 0.125

_log = logging.getLogger(__name__)


class Intake:
    """Checks deliveries and stores them; what can't be stored now is spooled.

    :param connections: the connections that deliveries are made to.
    :param clock: judges the times of deliveries.
    :param spool: where they are kept until the store works again; without one they are refused.
    :param spooled: called after each one that was spooled.
    :param patience: seconds for one delivery.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        clock: Clock,
        spool: Spool | None,
        spooled: Callable[[], None],
        patience: float,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._spool = spool
        self._spooled = spooled
        self._patience = patience
        self._checks = Threads(_THREADS)
        self._stores = Threads(_THREADS)
        self._spooling = Threads(_SPOOL_THREADS)

    async def take(
        self, attempt: Attempt, conn_id: str, *, peer: str, deadline: float, verified: Callable[[], None]
    ) -> str | None:
        """Return the request id once the result is in the store or in the spool; ``None`` if nobody could check it yet.

        :param conn_id: the connection it is made to; empty if it names none that could be one.
        :param peer: who sent it.
        :param deadline: when an answer is due, in the event loop's time.
        :param verified: called once it is known to come from Baseten.
        :raises Refused: it is not taken.
        """
        arrived = self._clock.now()
        until = deadline - _SPOOL_SHARE * self._patience if self._spool else deadline
        try:
            authentic, recent = await self._checks.run(partial(self._check, attempt, conn_id), deadline=until)
        except Refused:
            raise
        except Exception as error:
            if not (conn_id and attempt.may_be_signed):
                raise Refused(503, "The connection could not be looked up.") from None
            note = Note(conn_id=conn_id, arrived=arrived, signature=attempt.signature)
            trouble = f"it could not be checked ({kinds(error)})"
            await self._keep(Kind.UNVERIFIED, note, attempt.body, trouble, peer=peer, deadline=deadline)
            return None
        verified()
        uri = authentic.connection.result_store
        note = Note(conn_id=conn_id, request_id=authentic.request_id, arrived=arrived, time=authentic.time)
        if not recent and not await self._is_stored(uri, note, until):
            if authentic.signed and self._spool:
                await self._hold(note, attempt.body, deadline)
            raise Refused(403, "The time in the body is missing, or too far from the receiver's.")
        if trouble := await self._store(uri, note, attempt.body, until):
            kind = Kind.SIGNED if authentic.signed else Kind.UNSIGNED
            await self._keep(kind, note, attempt.body, trouble, deadline=deadline)
        return authentic.request_id

    def _check(self, attempt: Attempt, conn_id: str) -> tuple[Authentic, bool]:
        """Return what the delivery says of itself, and whether it is recent."""
        authentic = self._connections.identify(attempt, conn_id) if conn_id else identify(attempt, None)
        server = authentic.connection.management_url
        recent = self._clock.judge(authentic.time, server)
        self._clock.compare_soon(lambda: server)
        return authentic, recent

    async def _is_stored(self, uri: str | None, note: Note, deadline: float) -> bool:
        """Tell whether the result is in the store. A copy of one that is still there changes nothing."""

        def look() -> bool:
            return bool(Deliveries(ResultStore(uri)).delivered([note.request_id]))

        try:
            return await self._stores.run(look, deadline=deadline)
        except Exception:  # Nobody knows, so the result is kept aside.
            return False

    async def _store(self, uri: str | None, note: Note, body: bytes, deadline: float) -> str:
        """Store a result, and say what went wrong, if anything did, without texts of errors: they may hold paths."""
        queue = _QUEUE_SHARE * self._patience if self._spool else None

        def save() -> None:
            Deliveries(ResultStore(uri)).save(note.request_id, body)

        try:
            await self._stores.run(save, deadline=deadline, queue=queue)
        except TimeoutError:
            return "the store did not answer in time"
        except Exception as error:
            return f"the store failed ({kinds(error)})"
        return ""

    async def _hold(self, note: Note, body: bytes, deadline: float) -> None:
        """Keep a result aside whose time is far off: the clock of this machine may be wrong."""
        sent = seconds_of(note.time)
        if sent is None:
            return
        _log.error(
            "A signed delivery for connection %s says that it was sent at %s, and here it is %s. Either the clock of "
            "this machine is off, or this is an old copy whose result was deleted. It is kept aside: if it is the "
            "clock, set it right, and raise [baseten] webhook_tolerance_seconds until the result is stored.",
            note.conn_id,
            words(sent),
            words(note.arrived),
        )
        await self._keep(Kind.HELD, note, body, "its time is too far from this machine's", deadline=deadline)

    async def _keep(
        self, kind: Kind, note: Note, body: bytes, trouble: str, *, deadline: float, peer: str = ""
    ) -> None:
        """Spool a delivery.

        :raises Refused: that is not possible either.
        """
        what = f"async request {note.request_id}" if note.request_id else "an async request"
        if self._spool is None:
            _log.error("The result of %s for connection %s was not stored: %s", what, note.conn_id, trouble)
            raise Refused(503, "The result could not be stored.")
        try:
            await self._spooling.run(partial(self._spool.add, kind, note, body, peer=peer), deadline=deadline)
        except (TimeoutError, BasetenResultStoreError) as error:
            _log.error(
                "The result of %s for connection %s was neither stored (%s) nor spooled. %s",
                what,
                note.conn_id,
                trouble,
                error,
            )
            raise Refused(503, "The result could not be stored.") from None
        _log.warning("The result of %s for connection %s was spooled: %s", what, note.conn_id, trouble)
        self._spooled()


def kinds(error: BaseException) -> str:
    """Name an error and what caused it, without their texts."""
    name = type(error).__name__
    return f"{name} from {kinds(error.__cause__)}" if error.__cause__ else name
