"""Relay: it moves deliveries from a queue, which is outside of this network, to the result stores of their connections.

The function in ``relay_handler.py`` writes the deliveries to the queue. It verifies nothing; the relay does.
"""

import logging
import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_baseten.api.webhook import is_recent
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.metrics import count_delivery, refusal
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import (
    ReceivedDelivery,
    Refusal,
    VerifiedDelivery,
    identify,
    valid_conn_id,
)
from airflow_provider_baseten.webhook.intake import error_types, save_delivery
from airflow_provider_baseten.webhook.relay_budget import ByteBudget
from airflow_provider_baseten.webhook.relay_kept import KeptDeliveries
from airflow_provider_baseten.webhook.relay_queue import REFUSED, QueuedDelivery, QueueEntry, RelayQueue
from airflow_provider_baseten.webhook.relay_round import RelayError, RelayRound
from airflow_provider_baseten.webhook.spool import DeliveryMetadata

# Longest duration of a round of `Relay.run`, in seconds. Behind a backlog, new deliveries wait that long. Listing the
# queue takes minutes if it has a million files, so it is not done more often.
_ROUND_SECONDS = 300.0
# Number of deliveries after which a round looks at the time.
_PART = 200
# Number of deliveries at the same time. Most of the time goes into waiting for the storage.
_PARALLEL = 16
# Size of the files at the same time, in bytes. In memory a file takes about four times its size.
_MAX_BYTES = 64 * 1024 * 1024
# Longest pause after rounds that failed, in seconds. It is shorter than the minute for which a task waits for a late
# result.
_MAX_PAUSE_SECONDS = 30.0

_QUEUE_ADVICE = "check that this process may read, write and delete files in the queue"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Outages:
    """What has failed in a round. It is not tried again before the next round.

    Not the errors themselves, because their tracebacks would keep all deliveries of the round in memory.

    :param stores: types of the error of each result store, by URI.
    :param connections: arguments of the ``RelayError`` of each connection, by id.
    """

    stores: dict[str, str] = field(default_factory=dict)
    connections: dict[str, tuple[str, str, str]] = field(default_factory=dict)


class Relay:
    """Moves deliveries from a queue to the result stores.

    A delivery is deleted from the queue after its result is stored. After a crash in between, it is found again, and
    storing it again changes nothing. For the same reason several relays may work on one queue.

    :param queue: the queue.
    :param connections: connections that may receive deliveries.
    :param tolerance: seconds by which the time in a delivery may differ from that of its arrival at the function.
    :param max_body_bytes: largest body that is accepted, in bytes.
    """

    def __init__(self, queue: RelayQueue, connections: Connections, *, tolerance: float, max_body_bytes: int) -> None:
        self._queue = queue
        self._connections = connections
        self._tolerance = tolerance
        # An entry holds the body in base64, which takes four bytes for three, and a few kilobytes of other fields.
        self._max_entry_bytes = max_body_bytes * 4 // 3 + 8192
        self._memory = ByteBudget(_MAX_BYTES)
        self._kept = KeptDeliveries()
        self._not_reached: set[str] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End :meth:`run` after the deliveries that are being stored now. The others stay in the queue."""
        self._stopped.set()

    def run(self, interval: float) -> None:
        """Make rounds until :meth:`stop` is called. After rounds with an error the pause grows to half a minute.

        :param interval: seconds between two rounds.
        """
        failures = 0
        known: set[str] = set()
        while not self._stopped.is_set():
            try:
                result = self.run_round(_ROUND_SECONDS)
                problems = {reason: result.describe(reason) for reason in result.kept}
            except BasetenResultStoreError as error:
                problems = {error_types(error): str(error)}
            for reason in problems.keys() - known:  # A problem that lasts is logged once.
                _log.error("Deliveries stay in the queue: %s", problems[reason])
            if known and not problems and not self._stopped.is_set():
                _log.info("The last round had no error any more")
            known = {*problems}
            failures = failures + 1 if problems else 0
            self._stopped.wait(round_pause(failures, interval))

    def run_round(self, seconds: float = math.inf) -> RelayRound:
        """Store or refuse the deliveries that are in the queue now; log the counts.

        Of the deliveries that earlier rounds have kept for the same cause, only some are tried. After one of them is
        stored, the next round tries the others.

        :param seconds: time after the listing of the queue after which no further deliveries are tried, by default
            unlimited. The next round tries them after those that are new.
        :raises BasetenResultStoreError: the queue can't be read.
        """
        entries = self._queue.entries()
        deadline = time.monotonic() + seconds
        # The order is random, so that entries that always fail do not block the others.
        random.shuffle(entries)
        entries.sort(key=lambda entry: entry.name in self._not_reached)
        due, waiting = self._kept.split(entries)
        result, number = self._work_on(due, deadline)
        self._not_reached = {entry.name for entry in due[number:]}
        self._kept.update(entries, due[:number], result.causes)
        result.add_waiting(waiting)
        if result.stored or result.refused:
            _log.info("Deliveries of this round: %d stored, %d refused", result.stored, result.refused)
        return result

    def _work_on(self, entries: list[QueueEntry], deadline: float) -> tuple[RelayRound, int]:
        """Store or refuse deliveries; return the counts, and the number of entries that were reached in time."""
        result, outages = RelayRound(), _Outages()
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="baseten-relay") as threads:
            for start in range(0, len(entries), _PART):
                if self._stopped.is_set() or time.monotonic() > deadline:
                    return result, start
                part = entries[start : start + _PART]
                for entry, end in zip(part, threads.map(partial(self._finish, outages=outages), part), strict=True):
                    result.add(entry, end)
        return result, len(entries)

    def _finish(self, entry: QueueEntry, outages: _Outages) -> VerifiedDelivery | Refusal | RelayError | None:
        """Store or refuse one delivery.

        Return the delivery if it was stored, the refusal if it was refused, the error if it stays in the queue, and
        ``None`` if another process has taken it, or if the relay was stopped.
        """
        try:
            with self._memory.reserved(entry.size):
                return None if self._stopped.is_set() else self._store_or_refuse(entry, outages)
        except RelayError as error:
            # Without a traceback, which would keep the delivery in memory.
            return RelayError(error.cause, error.problem, error.advice)
        except Exception as error:
            return RelayError("the queue", f"fails ({error_types(error)})", _QUEUE_ADVICE)

    def _store_or_refuse(self, entry: QueueEntry, outages: _Outages) -> VerifiedDelivery | Refusal | None:
        try:
            verified = self._store(entry, outages)
        except Refusal as refused:
            if not self._queue.refuse(entry):
                return None
            count_delivery(refusal(refused.status), "relay")
            _log.warning("%s was moved to the folder %s: %s", entry.name, REFUSED, refused.reason)
            return Refusal(refused.status, refused.reason)
        if verified is not None:
            self._queue.remove(entry)
            _log.info(
                "The result of async request %s for connection %s was stored",
                verified.request_id,
                verified.connection.conn_id,
            )
        return verified

    def _store(self, entry: QueueEntry, outages: _Outages) -> VerifiedDelivery | None:
        """Verify and store one delivery; return its facts, ``None`` if another process has taken it.

        :raises Refusal: the delivery is not accepted.
        :raises RelayError: the connection or the store can't be reached, or the connection is not valid.
        """
        if entry.size > self._max_entry_bytes:
            raise Refusal(413, f"It has more than {self._max_entry_bytes:,} bytes.")
        queued = self._read(entry)
        if queued is None:
            return None
        verified = self._verify(queued, outages)
        self._save(queued, verified, outages)
        return verified

    def _read(self, entry: QueueEntry) -> QueuedDelivery | None:
        content = self._queue.read(entry)
        try:
            return None if content is None else QueuedDelivery.parse(content)
        except ValueError:
            raise Refusal(400, "It is not a delivery as relay_handler.py writes it.") from None

    def _save(self, queued: QueuedDelivery, verified: VerifiedDelivery, outages: _Outages) -> None:
        try:
            store = ResultStore(verified.connection.result_store)
        except BasetenInputError as error:
            raise _store_fails(verified, error_types(error)) from None
        try:
            if store.uri in outages.stores:
                raise _store_fails(verified, outages.stores[store.uri])
            deliveries = Deliveries(store)
            # Security: an old delivery may be a copy that somebody sends again to bring back a deleted result. If the
            # result is still stored, the copy changes nothing. The function wrote the time of arrival, which stays the
            # same if the file is moved, for example out of the folder of refused deliveries.
            is_new = False
            if is_recent(verified.time, now=queued.arrived, tolerance=self._tolerance):
                metadata = DeliveryMetadata(
                    conn_id=verified.connection.conn_id,
                    request_id=verified.request_id,
                    is_event=queued.delivery.is_event,
                )
                is_new = save_delivery(store, metadata, queued.delivery.body)
            elif not deliveries.delivered([verified.request_id]):
                raise Refusal(403, "Its time is missing, or too far from that of its arrival.")
        except BasetenResultStoreError as error:
            outages.stores[store.uri] = error_types(error)
            raise _store_fails(verified, error_types(error)) from None
        count_delivery("stored" if is_new else "duplicate", "relay")

    def _verify(self, queued: QueuedDelivery, outages: _Outages) -> VerifiedDelivery:
        conn_id = valid_conn_id(queued.conn_id)
        if not conn_id:
            return identify(queued.delivery, None)
        if known := outages.connections.get(conn_id):
            raise RelayError(*known)
        try:
            return self._identify(queued.delivery, conn_id)
        except (Refusal, RelayError):
            raise
        except Exception as error:
            outages.connections[conn_id] = _connection_problem(conn_id, error)
            raise RelayError(*outages.connections[conn_id]) from None

    def _identify(self, delivery: ReceivedDelivery, conn_id: str) -> VerifiedDelivery:
        try:
            return self._connections.identify(delivery, conn_id)
        except Refusal as refused:
            if refused.status != 401:
                raise
            # The receiver hides the reason from the sender; the relay has none, and logs it.
            connection = self._connections.find(conn_id)
            if connection is None:
                raise Refusal(401, f"There is no Baseten connection {conn_id} here.") from None
            if not connection.webhook_secrets:
                raise RelayError(f"connection {conn_id}", "has no webhook_secrets", "enter them") from None
            raise Refusal(401, f"The signature is not valid for connection {conn_id}.") from None


def _store_fails(verified: VerifiedDelivery, types: str) -> RelayError:
    conn_id = verified.connection.conn_id
    return RelayError(
        f"the result store of connection {conn_id}",
        f"fails ({types})",
        f"'python -m airflow_provider_baseten.cli check --conn-id {conn_id}' on this machine says what is wrong",
    )


def _connection_problem(conn_id: str, error: Exception) -> tuple[str, str, str]:
    """Return the arguments of the ``RelayError`` for a connection whose lookup raised an error."""
    if isinstance(error, BasetenError):
        return f"connection {conn_id}", "is not valid", str(error).removesuffix(".")
    # Without the id, which a stranger may have written: each id would be another line of the log.
    return (
        "the lookup of connections",
        f"fails ({error_types(error)})",
        "check that this machine can reach Airflow's database and the secrets backends",
    )


def round_pause(failures: int, interval: float) -> float:
    """Return the seconds until the next round.

    :param failures: number of rounds that have failed in a row.
    :param interval: pause after a round without a failure, in seconds.
    """
    return max(interval, min(_MAX_PAUSE_SECONDS, interval * 2.0 ** min(failures, 10)))
