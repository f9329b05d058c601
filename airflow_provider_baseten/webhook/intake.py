"""Intake of deliveries: each is checked, and then stored in the result store or the spool."""

import logging
from collections.abc import Callable
from functools import partial

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.arrivals import Arrivals
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.metrics import count_delivery
from airflow_provider_baseten.webhook.clock import DeliveryClock, format_time, parse_time
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery, Refusal, VerifiedDelivery, identify, is_test
from airflow_provider_baseten.webhook.spool import DeliveryKind, DeliveryMetadata, Spool
from airflow_provider_baseten.webhook.threads import WorkerThreads

_THREADS = 8
_SPOOL_THREADS = 2
# The response to a delivery is due within a time limit. This fraction of the time is reserved for the write to the
# spool.
_SPOOL_SHARE = 0.25
# Longest wait for a free thread, as a fraction of the time for a delivery.
_QUEUE_SHARE = 0.125

_log = logging.getLogger(__name__)


class Intake:
    """Checks and stores deliveries. A delivery that can't be stored at once is spooled.

    :param connections: connections that may receive deliveries.
    :param clock: clock that checks the times of deliveries.
    :param spool: where deliveries are kept until the store works again. Without a spool, a delivery that can't be
        stored is refused.
    :param on_spooled: function that is called after each delivery that was spooled.
    :param timeout: seconds from the arrival of a delivery until its response is due.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        clock: DeliveryClock,
        spool: Spool | None,
        on_spooled: Callable[[], None],
        timeout: float,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._spool = spool
        self._on_spooled = on_spooled
        self._timeout = timeout
        self._checks = WorkerThreads(_THREADS)
        self._stores = WorkerThreads(_THREADS)
        self._spooling = WorkerThreads(_SPOOL_THREADS)

    async def accept_delivery(
        self, attempt: ReceivedDelivery, conn_id: str, *, peer: str, deadline: float, on_verified: Callable[[], None]
    ) -> str | None:
        """Store or spool a result, and return its request id.

        Return ``None`` if the delivery could not be checked and was spooled without a check.

        :param conn_id: connection in the URL of the delivery; empty if the URL has no valid id.
        :param peer: sender of the delivery, see :func:`~.buffer.peer_of`.
        :param deadline: when the response is due, in the event loop's time.
        :param on_verified: function that is called once the delivery is known to come from Baseten.
        :raises Refusal: the delivery is not accepted.
        """
        arrived = self._clock.now()
        until = deadline - _SPOOL_SHARE * self._timeout if self._spool else deadline
        try:
            verified, recent = await self._checks.run(partial(self._check, attempt, conn_id), deadline=until)
        except Refusal:
            raise
        except Exception as error:
            # Security: without the connection the signature can't be checked. A delivery with a signature of the right
            # form is spooled, because its result would be lost otherwise. Other deliveries are refused, because they
            # would only use up the spool's quota for unverified deliveries.
            if not (conn_id and attempt.may_be_signed):
                raise Refusal(503, "The connection could not be looked up.") from None
            metadata = DeliveryMetadata(
                conn_id=conn_id, arrived=arrived, signature=attempt.signature, is_event=attempt.is_event
            )
            problem = f"it could not be checked ({error_types(error)})"
            await self._keep(DeliveryKind.UNVERIFIED, metadata, attempt.body, problem, peer=peer, deadline=deadline)
            return None
        on_verified()
        uri = verified.connection.result_store
        metadata = DeliveryMetadata(
            conn_id=conn_id,
            request_id=verified.request_id,
            arrived=arrived,
            time=verified.time,
            is_event=attempt.is_event,
        )
        # Security: an old delivery may be a copy that somebody sends again to bring back a deleted result. An old
        # delivery whose result is still stored is accepted, because it changes nothing. Every other old delivery is
        # refused. A signed one is also kept in the spool: it may seem old only because this machine's clock is wrong.
        # A test delivery is not kept, because no task waits for it.
        if not recent and not await self._is_stored(uri, metadata, until):
            if verified.signed and self._spool and not is_test(verified.request_id):
                await self._hold(metadata, attempt.body, deadline)
            raise Refusal(403, "The time in the body is missing, or too far from the receiver's.")
        if problem := await self._store(uri, metadata, attempt.body, until):
            kind = DeliveryKind.SIGNED if verified.signed else DeliveryKind.UNSIGNED
            await self._keep(kind, metadata, attempt.body, problem, deadline=deadline)
        return verified.request_id

    def _check(self, attempt: ReceivedDelivery, conn_id: str) -> tuple[VerifiedDelivery, bool]:
        """Check the origin of a delivery; return its facts, and whether it is recent."""
        verified = self._connections.identify(attempt, conn_id) if conn_id else identify(attempt, None)
        server = verified.connection.management_url
        recent = self._clock.judge(verified.time, server)
        self._clock.compare_soon(lambda: server)
        return verified, recent

    async def _is_stored(self, uri: str | None, metadata: DeliveryMetadata, deadline: float) -> bool:
        """Return whether the result is in the result store; ``False`` if the store can't be read."""

        def look() -> bool:
            return bool(Deliveries(ResultStore(uri)).delivered([metadata.request_id]))

        try:
            return await self._stores.run(look, deadline=deadline)
        except Exception:
            return False

    async def _store(self, uri: str | None, metadata: DeliveryMetadata, body: bytes, deadline: float) -> str:
        """Store a result. Return an empty string on success, otherwise the reason of the failure.

        The reason quotes no error messages, because they may hold paths.
        """
        queue = _QUEUE_SHARE * self._timeout if self._spool else None

        def save() -> bool:
            return save_delivery(ResultStore(uri), metadata, body)

        try:
            is_new = await self._stores.run(save, deadline=deadline, queue=queue)
        except TimeoutError:
            return "the store did not respond in time"
        except Exception as error:
            return f"the store failed ({error_types(error)})"
        count_delivery("stored" if is_new else "duplicate", "receiver")
        return ""

    async def _hold(self, metadata: DeliveryMetadata, body: bytes, deadline: float) -> None:
        """Keep a delivery in the spool although it seems old or from the future: this machine's clock may be wrong."""
        sent = parse_time(metadata.time)
        if sent is None:
            return
        _log.error(
            "A signed delivery for connection %s was sent at %s by its own time, and here it is %s. Either the clock "
            "of this machine is off, or this is an old copy whose result was deleted. It is held: if the clock "
            "is off, correct it, and raise [baseten] webhook_tolerance_seconds until the result is stored.",
            metadata.conn_id,
            format_time(sent),
            format_time(metadata.arrived),
        )
        await self._keep(
            DeliveryKind.HELD, metadata, body, "its time is too far from this machine's", deadline=deadline
        )

    async def _keep(
        self,
        kind: DeliveryKind,
        metadata: DeliveryMetadata,
        body: bytes,
        problem: str,
        *,
        deadline: float,
        peer: str = "",
    ) -> None:
        """Spool a delivery.

        :raises Refusal: the delivery can't be spooled.
        """
        what = f"async request {metadata.request_id}" if metadata.request_id else "an async request"
        if self._spool is None:
            _log.error("The result of %s for connection %s was not stored: %s", what, metadata.conn_id, problem)
            raise Refusal(503, "The result could not be stored.")
        try:
            await self._spooling.run(partial(self._spool.add, kind, metadata, body, peer=peer), deadline=deadline)
        except (TimeoutError, BasetenResultStoreError) as error:
            _log.error(
                "The result of %s for connection %s was neither stored (%s) nor spooled. %s",
                what,
                metadata.conn_id,
                problem,
                error,
            )
            raise Refusal(503, "The result could not be stored.") from None
        count_delivery("held" if kind is DeliveryKind.HELD else "spooled", "receiver")
        _log.warning("The result of %s for connection %s was spooled: %s", what, metadata.conn_id, problem)
        self._on_spooled()


def save_delivery(store: ResultStore, metadata: DeliveryMetadata, body: bytes) -> bool:
    """Save the body of a delivery; note it for :class:`BasetenResultTrigger` if no task waits for it.

    A test delivery starts no DAG.

    :returns: whether it was saved now; ``False`` if the request has a delivery already.
    :raises BasetenResultStoreError: the delivery could not be written.
    """
    if metadata.is_event and not is_test(metadata.request_id):
        return Arrivals(store, metadata.conn_id).save(metadata.request_id, body)
    return Deliveries(store).save(metadata.request_id, body)


def error_types(error: BaseException) -> str:
    """Return the types of an error and its causes, without their messages."""
    name = type(error).__name__
    return f"{name} from {error_types(error.__cause__)}" if error.__cause__ else name
