"""Relay: it moves deliveries from a queue, which is outside of this network, to the result stores of their connections.

The function in ``relay_handler.py`` writes the deliveries to the queue. It verifies nothing; the relay does.
"""

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_baseten.api.webhook import is_recent
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import (
    ReceivedDelivery,
    Refusal,
    VerifiedDelivery,
    identify,
    valid_conn_id,
)
from airflow_provider_baseten.webhook.intake import error_types
from airflow_provider_baseten.webhook.relay_budget import ByteBudget
from airflow_provider_baseten.webhook.relay_listing import QueueListing
from airflow_provider_baseten.webhook.relay_queue import (
    REFUSED,
    QueuedDelivery,
    QueueEntry,
    RelayQueue,
)

# Maximum number of deliveries in a round of `Relay.run`, so that each round ends soon, and costs little while a result
# store is down. The others follow in the next rounds.
_MAX_ENTRIES = 1000
# Number of deliveries at the same time. Most of the time goes into waiting for the storage.
_PARALLEL = 16
# Size of the files at the same time, in bytes. In memory a file takes about four times its size.
_MAX_BYTES = 64 * 1024 * 1024
# Longest pause after rounds that failed, in seconds. It is shorter than the minute for which a task waits for a late
# result.
_MAX_PAUSE_SECONDS = 30.0

_QUEUE_ADVICE = "check that this process may read, write and delete files in the queue"

_log = logging.getLogger(__name__)


class _RelayError(Exception):
    """A delivery can't be stored yet.

    :param reason: what fails. Deliveries with the same reason are counted and logged together.
    :param advice: what to do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True, slots=True)
class _Outages:
    """What has failed in a round, with the types of the error. It is not tried again before the next round.

    Not the errors themselves, because their tracebacks would keep all deliveries of the round in memory.

    :param stores: result stores, by URI.
    :param connections: lookups of connections, by id.
    """

    stores: dict[str, str] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RelayRound:
    """Counts of a round.

    :param stored: deliveries whose result is now in the result store; also if it was there before.
    :param refused: deliveries that were moved to the folder of refused ones.
    :param kept: deliveries that stay in the queue, by the reason.
    :param problems: for each reason, the name of the first file that stays in the queue, and what to do.
    """

    stored: int = 0
    refused: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    problems: dict[str, tuple[str, str]] = field(default_factory=dict)

    def describe(self, reason: str) -> str:
        """Return a sentence without a full stop on the deliveries that stay in the queue for a reason."""
        number, (name, advice) = self.kept[reason], self.problems[reason]
        which = f"the file {name}" if number == 1 else f"{number:,} files, the first of which is {name}"
        return f"{reason} for {which}: {advice}"

    def add(self, entry: QueueEntry, end: VerifiedDelivery | Refusal | _RelayError | None) -> None:
        """Count what :class:`Relay` has done with a file."""
        if isinstance(end, _RelayError):
            self.kept[end.reason] += 1
            self.problems.setdefault(end.reason, (entry.name, end.advice))
        elif isinstance(end, Refusal):
            self.refused += 1
        elif end is not None:
            self.stored += 1


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
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End :meth:`run` after the deliveries that are being stored now. The others stay in the queue."""
        self._stopped.set()

    def run(self, interval: float) -> None:
        """Make rounds until :meth:`stop` is called. After rounds with an error the pause grows to half a minute.

        Each round works on a part of a listing of the queue. While parts are left and all is well, there is no pause.

        :param interval: seconds between two looks into the queue.
        """
        listing = QueueListing(self._queue)
        failures = 0
        known: set[str] = set()
        found: set[str] = set()  # Problems since the last listing was used up.
        while not self._stopped.is_set():
            try:
                result = self._work_on(listing.take(_MAX_ENTRIES))
                problems = {reason: result.describe(reason) for reason in result.kept}
            except BasetenResultStoreError as error:
                problems = {str(error): str(error)}
            for reason in problems.keys() - known:  # A problem that lasts is logged once.
                _log.error("Deliveries stay in the queue: %s", problems[reason])
            known |= problems.keys()
            found |= problems.keys()
            if listing.is_used_up:
                if known and not found:
                    _log.info("The last round had no error any more")
                known, found = found, set()
            failures = failures + 1 if problems else 0
            if problems or listing.is_used_up:
                self._stopped.wait(round_pause(failures, interval))

    def run_round(self) -> RelayRound:
        """Store or refuse all deliveries that are in the queue now; log the counts.

        :raises BasetenResultStoreError: the queue can't be read.
        """
        return self._work_on(self._queue.entries())

    def _work_on(self, entries: list[QueueEntry]) -> RelayRound:
        result, outages = RelayRound(), _Outages()
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="baseten-relay") as threads:
            # In parts, because a task of the pool takes more memory than an entry.
            for start in range(0, len(entries), _MAX_ENTRIES):
                part = entries[start : start + _MAX_ENTRIES]
                for entry, end in zip(part, threads.map(partial(self._finish, outages=outages), part), strict=True):
                    result.add(entry, end)
        if result.stored or result.refused:
            _log.info("Deliveries of this round: %d stored, %d refused", result.stored, result.refused)
        return result

    def _finish(self, entry: QueueEntry, outages: _Outages) -> VerifiedDelivery | Refusal | _RelayError | None:
        """Store or refuse one delivery.

        Return the delivery if it was stored, the refusal if it was refused, the error if it stays in the queue, and
        ``None`` if another process has taken it.
        """
        with self._memory.reserved(entry.size):
            if self._stopped.is_set():
                return None
            try:
                return self._store_or_refuse(entry, outages)
            except _RelayError as error:
                # Without a traceback, which would keep the delivery in memory.
                return _RelayError(error.reason, error.advice)
            except Exception as error:
                return _RelayError(f"the queue fails ({error_types(error)})", _QUEUE_ADVICE)

    def _store_or_refuse(self, entry: QueueEntry, outages: _Outages) -> VerifiedDelivery | Refusal | None:
        try:
            verified = self._store(entry, outages)
        except Refusal as refused:
            if not self._queue.refuse(entry):
                return None
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
        :raises _RelayError: the connection or the store can't be reached.
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
            if is_recent(verified.time, now=queued.arrived, tolerance=self._tolerance):
                deliveries.save(verified.request_id, queued.delivery.body)
            elif not deliveries.delivered([verified.request_id]):
                raise Refusal(403, "Its time is missing, or too far from that of its arrival.")
        except BasetenResultStoreError as error:
            outages.stores[store.uri] = error_types(error)
            raise _store_fails(verified, error_types(error)) from None

    def _verify(self, queued: QueuedDelivery, outages: _Outages) -> VerifiedDelivery:
        conn_id = valid_conn_id(queued.conn_id)
        if not conn_id:
            return identify(queued.delivery, None)
        if conn_id in outages.connections:
            raise _lookup_fails(outages.connections[conn_id])
        try:
            return self._identify(queued.delivery, conn_id)
        except Refusal:
            raise
        except Exception as error:
            outages.connections[conn_id] = error_types(error)
            raise _lookup_fails(error_types(error)) from None

    def _identify(self, delivery: ReceivedDelivery, conn_id: str) -> VerifiedDelivery:
        try:
            return self._connections.identify(delivery, conn_id)
        except Refusal as refused:
            if refused.status != 401:
                raise
            raise Refusal(401, _why_not_verified(conn_id, self._connections.find(conn_id))) from None


def _why_not_verified(conn_id: str, connection: BasetenConnection | None) -> str:
    """Return why a signature is not valid. The receiver hides this from the sender; the relay has none, and logs it."""
    if connection is None:
        return f"Connection {conn_id} does not exist here."
    if not connection.webhook_secrets:
        return f"Connection {conn_id} has no webhook_secrets here."
    return f"The signature is not valid for connection {conn_id}."


def _store_fails(verified: VerifiedDelivery, types: str) -> _RelayError:
    conn_id = verified.connection.conn_id
    return _RelayError(
        f"the result store of connection {conn_id} fails ({types})",
        f"'airflow baseten check --conn-id {conn_id}' on this machine says what is wrong",
    )


def _lookup_fails(types: str) -> _RelayError:
    # Without the id, which a stranger may have written: each id would be another line of the log.
    return _RelayError(
        f"the lookup of connections fails ({types})",
        "check that this machine can reach Airflow's database and the secrets backends",
    )


def round_pause(failures: int, interval: float) -> float:
    """Return the seconds until the next round.

    :param failures: number of rounds that have failed in a row.
    :param interval: pause after a round without a failure, in seconds.
    """
    return max(interval, min(_MAX_PAUSE_SECONDS, interval * 2.0 ** min(failures, 10)))
