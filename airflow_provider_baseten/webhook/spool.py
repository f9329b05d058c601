"""A local folder for deliveries that can't be stored yet."""

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

from airflow_provider_baseten.exceptions import BasetenResultStoreError

_MIB = 1024 * 1024

# A file takes at least a block of the disk.
_BLOCK = 4096
# Seconds after which an unfinished file was left behind by a process that died.
_UNFINISHED_SECONDS = 3600.0
# Seconds for which the folder's size is remembered, so that a burst does not list the folder for each delivery.
_SIZE_SECONDS = 1.0


class Kind(StrEnum):
    """What is known of a delivery in the spool."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    """Taken from a connection that allows unsigned webhooks."""
    UNVERIFIED = "unverified"
    """The connection could not be looked up."""
    HELD = "held"
    """Signed, but its time is too far from this machine's."""


# Bytes for each kind, so that strangers can't take the space of signed deliveries.
QUOTAS: Mapping[Kind, int] = {
    Kind.SIGNED: 1024 * _MIB,
    Kind.UNSIGNED: 128 * _MIB,
    Kind.UNVERIFIED: 128 * _MIB,
    Kind.HELD: 256 * _MIB,
}
# Bytes of unverified deliveries from one peer.
PEER_QUOTA = 32 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the spool knows of a delivery besides its body; never a secret.

    :param conn_id: the connection it is for.
    :param request_id: the async request it is for; empty if nobody has checked.
    :param arrived: seconds since the epoch, by this machine's clock.
    :param time: when Baseten sent it, as it wrote it.
    :param signature: the signature header of what is still to be verified.
    """

    conn_id: str
    request_id: str = ""
    arrived: float = 0.0
    time: str | None = None
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the spool.

    :param name: its name.
    :param kind: what is known of the delivery.
    :param group: the same for deliveries that are stored, or fail, together.
    :param size: its bytes.
    """

    name: str
    kind: Kind
    group: str
    size: int


class Spool:
    """A folder of deliveries, one file each, that several processes may share.

    A file appears whole or not at all, is on the disk before the delivery is answered, and is deleted once its result
    is in the store. Two processes never work on one file; the file of a process that died is free at once.

    :param folder: made on first use, for its owner only.
    :param quotas: most bytes of each kind.
    """

    def __init__(self, folder: Path, *, quotas: Mapping[Kind, int] = QUOTAS, peer_quota: int = PEER_QUOTA) -> None:
        self.folder = folder
        self._quotas = quotas
        self._peer_quota = peer_quota
        self._counts: Counter[Kind] = Counter()
        self._sizes: Counter[tuple[Kind, str]] = Counter()
        self._sized_at = float("-inf")

    def add(self, kind: Kind, note: Note, body: bytes, *, peer: str = "") -> None:
        """Keep a delivery; a second one of the same request changes nothing. Blocks.

        :param peer: who sent it, if it is unverified.
        :raises BasetenResultStoreError: the spool is full, or the folder can't be written.
        """
        head = json.dumps(asdict(note)).encode() + b"\n"
        group = _hash(peer if kind is Kind.UNVERIFIED else note.conn_id)
        name = f"{group}-{_key(kind, note, body)}.{kind}"
        try:
            if not (self.folder / name).exists():
                self._make_room(kind, group, len(head) + len(body))
                self._write(name, head, body)
        except OSError as error:
            raise BasetenResultStoreError(
                f"The webhook spool {self.folder} can't be written ({type(error).__name__}: {error})."
            ) from error

    def entries(self) -> list[Entry]:
        """Return what is there, and delete what was left unfinished.

        :raises BasetenResultStoreError: the folder can't be read.
        """
        entries = []
        try:
            for file in self._files():
                with suppress(FileNotFoundError):  # Another process has just stored it.
                    status = file.stat(follow_symlinks=False)
                    if entry := _entry(file.name, status):
                        entries.append(entry)
                    elif file.name.endswith(".part") and time.time() - status.st_mtime > _UNFINISHED_SECONDS:
                        Path(file.path).unlink()
        except OSError as error:
            raise BasetenResultStoreError(
                f"The webhook spool {self.folder} can't be read ({type(error).__name__}: {error})."
            ) from error
        self._counts = Counter(entry.kind for entry in entries)
        self._sizes = Counter()
        for entry in entries:
            self._sizes[entry.kind, entry.group] += _on_disk(entry.size)
        self._sized_at = time.monotonic()
        return entries

    def counts(self) -> Counter[Kind]:
        """Return how many deliveries of each kind there are, or were a second ago.

        :raises BasetenResultStoreError: the folder can't be read.
        """
        if time.monotonic() - self._sized_at > _SIZE_SECONDS:
            self.entries()
        return self._counts

    def check(self) -> None:
        """Make the folder, and check that it can be written.

        :raises BasetenResultStoreError: it can't.
        """
        try:
            self._make_folder()
        except OSError as error:
            raise BasetenResultStoreError(f"The webhook spool {self.folder} can't be made ({error}).") from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise BasetenResultStoreError(f"The webhook spool {self.folder} can't be written by this user.")

    @contextmanager
    def claimed(self, entry: Entry) -> Iterator[IO[bytes] | None]:
        """Open a file that nobody else works on; ``None`` if somebody does, or has."""
        path = self.folder / entry.name
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            yield file if _locked(file) and _is_there(path, file) else None

    def remove(self, entry: Entry) -> None:
        """Delete a file."""
        (self.folder / entry.name).unlink(missing_ok=True)

    def _make_room(self, kind: Kind, group: str, size: int) -> None:
        if time.monotonic() - self._sized_at > _SIZE_SECONDS:
            self.entries()
        taken = sum(taken for (other, _), taken in self._sizes.items() if other is kind)
        of_peer = self._sizes[kind, group] if kind is Kind.UNVERIFIED else 0
        if taken + size > self._quotas[kind] or of_peer + size > self._peer_quota:
            raise BasetenResultStoreError(f"The webhook spool {self.folder} is full of {kind} deliveries.")
        self._sizes[kind, group] += _on_disk(size)
        self._counts[kind] += 1

    def _make_folder(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _write(self, name: str, head: bytes, body: bytes) -> None:
        self._make_folder()
        part = self.folder / f"{uuid4().hex}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines((head, body))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
        _sync(self.folder)

    def _files(self) -> Sequence["os.DirEntry[str]"]:
        try:
            with os.scandir(self.folder) as files:
                return list(files)
        except FileNotFoundError:
            return []


def default_folder() -> Path:
    """Return ``[baseten] webhook_spool``, by default a folder below ``AIRFLOW_HOME``."""
    from airflow_provider_baseten.compat import conf

    configured = conf.get("baseten", "webhook_spool", fallback=None)
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    return Path(configured or f"{home}/baseten/spool").expanduser().resolve()


def read_note(file: IO[bytes]) -> Note:
    """Read the first line of a file; the body follows.

    :raises ValueError: it is damaged.
    """
    try:
        return Note(**json.loads(file.readline()))
    except TypeError:
        raise ValueError("not a note") from None


def _key(kind: Kind, note: Note, body: bytes) -> str:
    """Return what only the same delivery has."""
    if kind is Kind.UNVERIFIED:
        # The request id may be a stranger's, and must not stand in the way of the right delivery.
        return _hash(note.conn_id, note.signature, sha256(body).hexdigest())
    return _hash(note.conn_id, note.request_id)


def _hash(*words: str) -> str:
    return sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()[:32]


def _entry(name: str, status: os.stat_result) -> Entry | None:
    stem, _, suffix = name.partition(".")
    if suffix not in set(Kind):
        return None
    return Entry(name, Kind(suffix), stem.partition("-")[0], status.st_size)


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed, or its process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks: storing twice changes nothing.
        pass
    return True


def _is_there(path: Path, file: IO[bytes]) -> bool:
    """Tell whether a file was not deleted between its opening and its locking."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
