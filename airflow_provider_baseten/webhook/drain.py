"""Drain of the spool: it moves spooled deliveries to the result store in the background."""

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import IO

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.telemetry.metrics import count_delivery
from airflow_provider_baseten.webhook.clock import DeliveryClock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery, Refusal, VerifiedDelivery, is_test
from airflow_provider_baseten.webhook.intake import error_types, save_delivery
from airflow_provider_baseten.webhook.spool import DeliveryKind, DeliveryMetadata, Spool, SpoolEntry, read_metadata

# Seconds between two searches for deliveries that other processes left behind, and between two attempts to store
# deliveries of the kinds in `_UNCONFIRMED`.
_LOOK_SECONDS = 15.0
# Longest pause between two attempts to store deliveries of the other kinds, `SIGNED` and `UNSIGNED`, in seconds. It is
# short, because a task waits only a minute for a late result.
_MAX_PAUSE_SECONDS = 5.0
_PARALLEL = 4
# Kinds of deliveries that are checked again before they are stored. The check compares the delivery's own time with the
# clock. For `UNVERIFIED` it also verifies the signature.
_UNCONFIRMED = {DeliveryKind.HELD, DeliveryKind.UNVERIFIED}

_log = logging.getLogger(__name__)


class _DrainError(Exception):
    """A delivery can't be stored yet."""


@dataclass(slots=True)
class _Group:
    """State of a group of spooled deliveries.

    All deliveries of the kind ``HELD`` form one group, and all of the kind ``UNVERIFIED`` form another. Deliveries of
    the other kinds are grouped by connection.

    The drain works on a group in rounds. In a round, several threads store the deliveries of the group. After the
    round, the whole group pauses, because if one delivery can't be stored, the others probably can't be stored either.

    :param working: number of threads of the current round that are still running.
    :param has_failed: whether a thread of the current round has failed.
    :param failures: number of rounds that have failed in a row.
    :param next_at: time of the next round, in seconds of the monotonic clock.
    :param logged: problem that was logged last; empty after a round without one.
    """

    working: int = 0
    has_failed: bool = False
    failures: int = 0
    next_at: float = 0.0
    logged: str = ""


def pause_after(failures: int) -> float:
    """Return the seconds until the next attempt, after ``failures`` failed attempts in a row."""
    return min(_MAX_PAUSE_SECONDS, 0.5 * 2.0 ** min(failures, 10))


class Drain:
    """Background threads that store spooled deliveries as soon as possible, even those of a process that died.

    For deliveries of the kinds ``SIGNED`` and ``UNSIGNED``, each connection has its own threads. So a store that hangs
    does not delay such deliveries to other connections. Several processes may drain the same spool.

    :param spool: the spool.
    :param connections: connections that may receive deliveries.
    :param clock: clock that checks the times of deliveries.
    """

    def __init__(self, spool: Spool, connections: Connections, clock: DeliveryClock) -> None:
        self._spool = spool
        self._connections = connections
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Drain the spool now. The first call starts the background thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="baseten-drain", daemon=True)
                self._thread.start()
        self._awake.set()

    def stop(self) -> None:
        """Stop draining. Deliveries that are not stored yet stay in the spool."""
        self._stopped = True
        self._awake.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._spool.check()
        except BasetenResultStoreError as error:
            _log.error("%s Results that can't be stored at once are refused.", error)
        while not self._stopped:
            self._awake.clear()
            try:
                pause = self._begin(self._spool.entries())
            except Exception as error:
                _log.error("The webhook spool can't be drained: %s", error_types(error))
                pause = _LOOK_SECONDS
            self._awake.wait(pause)

    def _begin(self, entries: list[SpoolEntry]) -> float:
        """Start threads for the groups that are due; return the seconds until the next group is due."""
        waiting: dict[str, list[SpoolEntry]] = {}
        for entry in entries:
            waiting.setdefault(_group_of(entry), []).append(entry)
        now = time.monotonic()
        pauses = [_LOOK_SECONDS]
        with self._lock:
            self._groups = {name: group for name, group in self._groups.items() if name in waiting or group.working}
            for name, its_entries in waiting.items():
                group = self._groups.setdefault(name, _Group())
                if group.working:
                    continue
                if now < group.next_at:
                    pauses.append(group.next_at - now)
                    continue
                group.working = min(_PARALLEL, len(its_entries))
                for _ in range(group.working):
                    threading.Thread(
                        target=self._work, args=(group, list(its_entries)), name="baseten-drain", daemon=True
                    ).start()
        return min(pauses)

    def _work(self, group: _Group, entries: list[SpoolEntry]) -> None:
        """Store the entries one after the other until one fails. Skip those that another thread or process stores."""
        # The order is new each time, so that an entry that always fails does not block the others.
        random.shuffle(entries)
        problem = None
        try:
            for entry in entries:
                if self._stopped:
                    break
                with self._spool.claim(entry) as file:
                    if file:
                        self._finish(entry, file)
        except Exception as error:
            problem = str(error) if isinstance(error, _DrainError) else error_types(error)
        with self._lock:
            if problem and problem != group.logged:  # A problem that lasts is logged once.
                _log.warning("Spooled results can't be stored yet: %s", problem)
                group.logged = problem
            group.working -= 1
            group.has_failed |= problem is not None
            if not group.working:
                group.failures = group.failures + 1 if group.has_failed else 0
                group.logged = group.logged if group.has_failed else ""
                group.has_failed = False
                # Entries may remain although no thread failed: unconfirmed ones, and those that another process stores.
                # So the group also pauses after a round without failures.
                pause = _LOOK_SECONDS if entries[0].kind in _UNCONFIRMED else pause_after(group.failures)
                group.next_at = time.monotonic() + pause
        self._awake.set()

    def _finish(self, entry: SpoolEntry, file: IO[bytes]) -> None:
        """Store one delivery and delete its file.

        A delivery of the kind ``HELD`` or ``UNVERIFIED`` is stored only once the clock confirms that the delivery
        was recent on arrival. Until then the delivery stays in the spool, because the clock may be wrong. A damaged or
        refused delivery is deleted without being stored, and so is a test delivery that was not recent.

        :raises Exception: the delivery can't be stored now.
        """
        try:
            metadata = read_metadata(file)
        except ValueError:
            self._drop(entry, "is damaged")
            return
        body = None
        try:
            if entry.kind is DeliveryKind.UNVERIFIED:
                body = file.read()
                attempt = ReceivedDelivery(
                    body=body, signature=metadata.signature, request_id=None, is_event=metadata.is_event
                )
                metadata = _verified(metadata, self._connections.identify(attempt, metadata.conn_id))
            connection = self._connections.find(metadata.conn_id)
        except Refusal as refused:
            self._drop(entry, f"for connection {metadata.conn_id} is refused: {refused.reason}")
            return
        except Exception as error:
            raise _DrainError(f"connection {metadata.conn_id} can't be looked up ({error_types(error)})") from None
        if connection is None:
            raise _DrainError(f"connection {metadata.conn_id} is gone")
        if entry.kind in _UNCONFIRMED and not self._clock.is_recent(metadata.time, at=metadata.arrived):
            if is_test(metadata.request_id):
                self._drop(entry, f"for connection {metadata.conn_id} is a test whose time is too far from the clock")
            return
        try:
            body = file.read() if body is None else body
            is_new = save_delivery(ResultStore(connection.result_store), metadata, body)
        except BasetenResultStoreError as error:
            raise _DrainError(f"the store of connection {metadata.conn_id} fails ({error_types(error)})") from None
        self._spool.remove(entry)
        count_delivery("stored" if is_new else "duplicate", "receiver")
        _log.info(
            "The spooled result of async request %s for connection %s was stored", metadata.request_id, metadata.conn_id
        )

    def _drop(self, entry: SpoolEntry, why: str) -> None:
        self._spool.remove(entry)
        _log.warning("A spooled delivery %s; it was deleted", why)


def _group_of(entry: SpoolEntry) -> str:
    return entry.kind if entry.kind in _UNCONFIRMED else entry.group


def _verified(metadata: DeliveryMetadata, verified: VerifiedDelivery) -> DeliveryMetadata:
    return DeliveryMetadata(
        conn_id=metadata.conn_id,
        request_id=verified.request_id,
        arrived=metadata.arrived,
        time=verified.time,
        is_event=metadata.is_event,
    )
