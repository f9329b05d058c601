"""The way of spooled deliveries into the result store, in the background."""

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import IO

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.clock import Clock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import Attempt, Authentic, Refused
from airflow_provider_baseten.webhook.intake import kinds
from airflow_provider_baseten.webhook.spool import Entry, Kind, Note, Spool, read_note

# Seconds between two looks for what other processes left behind.
_LOOK_SECONDS = 15.0
# A task that waits gives a result that is late a minute.
_LONGEST_PAUSE = 5.0
_PARALLEL = 4
# What is stored only if its time, or its signature, turns out to be right.
_ASIDE = {Kind.HELD, Kind.UNVERIFIED}

_log = logging.getLogger(__name__)


class _Trouble(Exception):  # noqa: N818 - ends one round.
    pass


@dataclass(slots=True)
class _Group:
    """Deliveries that are stored, or fail, together.

    :param working: threads at work.
    :param failed: whether one of these has failed.
    :param failures: rounds in a row that have failed.
    :param next_at: when to try again.
    """

    working: int = 0
    failed: bool = False
    failures: int = 0
    next_at: float = 0.0


def pause_after(failures: int) -> float:
    """Return the seconds until the next attempt after so many that failed in a row."""
    return min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 10))


class Drain:
    """Stores what is in the spool as soon as that is possible, and what a process that died has left there.

    Each connection has threads of its own, so that a store that hangs holds up no other. Several processes may drain
    one spool.

    :param spool: the spool.
    :param connections: the connections that deliveries were made to.
    :param clock: judges the times of deliveries.
    """

    def __init__(self, spool: Spool, connections: Connections, clock: Clock) -> None:
        self._spool = spool
        self._connections = connections
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Look into the spool now; the first call starts the thread that does."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="baseten-drain", daemon=True)
                self._thread.start()
        self._awake.set()

    def stop(self) -> None:
        """End, after what is being stored. What is left stays in the spool."""
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
                _log.error("The webhook spool can't be drained: %s", kinds(error))
                pause = _LOOK_SECONDS
            self._awake.wait(pause)

    def _begin(self, entries: list[Entry]) -> float:
        """Begin with whatever is due; return the seconds until more will be."""
        waiting: dict[str, list[Entry]] = {}
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

    def _work(self, group: _Group, entries: list[Entry]) -> None:
        """Work on the entries that nobody else works on, until one fails."""
        # In another order each time: one that always fails does not keep the others back.
        random.shuffle(entries)
        trouble = None
        try:
            for entry in entries:
                if self._stopped:
                    break
                with self._spool.claimed(entry) as file:
                    if file:
                        self._finish(entry, file)
        except Exception as error:
            trouble = str(error) if isinstance(error, _Trouble) else kinds(error)
        if trouble:
            _log.warning("Spooled results can't be stored yet: %s", trouble)
        with self._lock:
            group.working -= 1
            group.failed |= trouble is not None
            if not group.working:
                group.failures = group.failures + 1 if group.failed else 0
                group.failed = False
                # What is left without a failure is another process's, or kept aside.
                pause = _LOOK_SECONDS if entries[0].kind in _ASIDE else pause_after(group.failures)
                group.next_at = time.monotonic() + pause
        self._awake.set()

    def _finish(self, entry: Entry, file: IO[bytes]) -> None:
        """Store one delivery and delete its file, if that is possible.

        :raises Exception: it is not possible now.
        """
        try:
            note = read_note(file)
        except ValueError:
            self._drop(entry, "is damaged")
            return
        body = None
        try:
            if entry.kind is Kind.UNVERIFIED:
                body = file.read()
                attempt = Attempt(body=body, signature=note.signature, request_id=None)
                note = _verified(note, self._connections.identify(attempt, note.conn_id))
            connection = self._connections.find(note.conn_id)
        except Refused as refused:
            self._drop(entry, f"for connection {note.conn_id} is not taken: {refused.reason}")
            return
        except Exception as error:
            raise _Trouble(f"connection {note.conn_id} can't be looked up ({kinds(error)})") from None
        if connection is None:
            raise _Trouble(f"connection {note.conn_id} is gone")
        if entry.kind in _ASIDE and not self._clock.is_recent(note.time, at=note.arrived):
            return
        try:
            body = file.read() if body is None else body
            Deliveries(ResultStore(connection.result_store)).save(note.request_id, body)
        except BasetenResultStoreError as error:
            raise _Trouble(f"the store of connection {note.conn_id} fails ({kinds(error)})") from None
        self._spool.remove(entry)
        _log.info("The spooled result of async request %s for connection %s was stored", note.request_id, note.conn_id)

    def _drop(self, entry: Entry, why: str) -> None:
        self._spool.remove(entry)
        _log.warning("A spooled delivery %s; it was deleted", why)


def _group_of(entry: Entry) -> str:
    return entry.kind if entry.kind in _ASIDE else entry.group


def _verified(note: Note, authentic: Authentic) -> Note:
    return Note(conn_id=note.conn_id, request_id=authentic.request_id, arrived=note.arrived, time=authentic.time)
