"""Spool, a local folder for deliveries that can't be stored yet."""

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

from airflow_provider_baseten import config
from airflow_provider_baseten.exceptions import BasetenResultStoreError

_MIB = 1024 * 1024

# Size of a block of the disk in bytes. A file takes up whole blocks.
_BLOCK = 4096
# Age in seconds after which an unfinished file must be from a process that died.
_UNFINISHED_SECONDS = 3600.0
# Seconds for which the folder's size is remembered, so that the folder is not listed for each delivery of a burst.
_SIZE_SECONDS = 1.0


class DeliveryKind(StrEnum):
    """Kind of a delivery in the spool: how far it has been checked."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    """The connection allows unsigned webhooks."""
    UNVERIFIED = "unverified"
    """The connection could not be looked up."""
    HELD = "held"
    """The delivery is signed, but its time is too far from this machine's clock."""


# Security: each kind has its own limit, in bytes, so that forged deliveries can't use up the space of signed ones.
QUOTAS: Mapping[DeliveryKind, int] = {
    DeliveryKind.SIGNED: 1024 * _MIB,
    DeliveryKind.UNSIGNED: 128 * _MIB,
    DeliveryKind.UNVERIFIED: 128 * _MIB,
    DeliveryKind.HELD: 256 * _MIB,
}
# Limit for unverified deliveries of one sender, in bytes, so that no sender can use up the space of the others.
PEER_QUOTA = 32 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryMetadata:
    """Metadata of a delivery in the spool; it holds no secret.

    :param conn_id: connection that the delivery is for.
    :param request_id: id of the async request; empty if the delivery is unverified.
    :param arrived: time of arrival in seconds since the epoch, by this machine's clock.
    :param time: time of sending, as written by Baseten.
    :param signature: signature header of an unverified delivery.
    :param is_event: see :class:`~.delivery.ReceivedDelivery`.
    """

    conn_id: str
    request_id: str = ""
    arrived: float = 0.0
    time: str | None = None
    signature: str = ""
    is_event: bool = False


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """A file of the spool.

    :param name: name of the file.
    :param kind: how far the delivery has been checked.
    :param group: hash of the sender if the delivery is unverified, otherwise hash of the connection id.
    :param size: size in bytes.
    """

    name: str
    kind: DeliveryKind
    group: str
    size: int


class Spool:
    """A folder with one file for each delivery. Several processes may share the folder.

    A file appears only when it is complete. It is on disk before Baseten gets its response, and is deleted once the
    result is in the result store. Only one process at a time works on a file. If that process dies, another can
    continue at once.

    :param folder: path of the folder. The folder is created on first use. Only its owner has access, because it holds
        outputs of models.
    :param quotas: limit for each kind, in bytes.
    :param peer_quota: limit for unverified deliveries of one peer, in bytes.
    """

    def __init__(
        self, folder: Path, *, quotas: Mapping[DeliveryKind, int] = QUOTAS, peer_quota: int = PEER_QUOTA
    ) -> None:
        self.folder = folder
        self._quotas = quotas
        self._peer_quota = peer_quota
        self._counts: Counter[DeliveryKind] = Counter()
        self._sizes: Counter[tuple[DeliveryKind, str]] = Counter()
        self._sized_at = float("-inf")

    def add(self, kind: DeliveryKind, metadata: DeliveryMetadata, body: bytes, *, peer: str = "") -> None:
        """Write a delivery to the spool. Do nothing if the spool already has it. Blocks.

        :param peer: the sender of an unverified delivery.
        :raises BasetenResultStoreError: the spool is full, or the folder can't be written.
        """
        head = json.dumps(asdict(metadata)).encode() + b"\n"
        group = _hash(peer if kind is DeliveryKind.UNVERIFIED else metadata.conn_id)
        name = f"{group}-{_key(kind, metadata, body)}.{kind}"
        try:
            if not (self.folder / name).exists():
                self._make_room(kind, group, len(head) + len(body))
                self._write(name, head, body)
        except OSError as error:
            raise BasetenResultStoreError(
                f"The webhook spool {self.folder} can't be written ({type(error).__name__}: {error})."
            ) from error

    def entries(self) -> list[SpoolEntry]:
        """Return all entries, and delete files that a dead process left unfinished.

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

    def counts(self) -> Counter[DeliveryKind]:
        """Return the number of deliveries of each kind. The numbers may be a second old.

        :raises BasetenResultStoreError: the folder can't be read.
        """
        if time.monotonic() - self._sized_at > _SIZE_SECONDS:
            self.entries()
        return self._counts

    def check(self) -> None:
        """Create the folder, and check that it can be written.

        :raises BasetenResultStoreError: the folder can't be created or written.
        """
        try:
            self._make_folder()
        except OSError as error:
            raise BasetenResultStoreError(f"The webhook spool {self.folder} can't be created ({error}).") from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise BasetenResultStoreError(f"The webhook spool {self.folder} can't be written by this user.")

    @contextmanager
    def claim(self, entry: SpoolEntry) -> Iterator[IO[bytes] | None]:
        """Yield the file of an entry, open and locked; ``None`` if it is locked already or deleted."""
        path = self.folder / entry.name
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            yield file if _locked(file) and _is_there(path, file) else None

    def remove(self, entry: SpoolEntry) -> None:
        """Delete a file."""
        (self.folder / entry.name).unlink(missing_ok=True)

    def _make_room(self, kind: DeliveryKind, group: str, size: int) -> None:
        if time.monotonic() - self._sized_at > _SIZE_SECONDS:
            self.entries()
        taken = sum(taken for (other, _), taken in self._sizes.items() if other is kind)
        of_peer = self._sizes[kind, group] if kind is DeliveryKind.UNVERIFIED else 0
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
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    return Path(config.WEBHOOK_SPOOL.get() or f"{home}/baseten/spool").expanduser().resolve()


def read_metadata(file: IO[bytes]) -> DeliveryMetadata:
    """Read the metadata, the first line of a file; the body follows.

    Unknown fields are ignored: while an update runs, a process of a later version may write to the same spool.

    :raises ValueError: the file is damaged.
    """
    known = {field.name for field in fields(DeliveryMetadata)}
    try:
        found = json.loads(file.readline())
        return DeliveryMetadata(**{name: value for name, value in found.items() if name in known})
    except (AttributeError, TypeError):
        raise ValueError("not the metadata of a delivery") from None


def _key(kind: DeliveryKind, metadata: DeliveryMetadata, body: bytes) -> str:
    """Return a key that is the same for copies of a delivery, and different for all other deliveries."""
    event = ("events",) if metadata.is_event else ()
    if kind is DeliveryKind.UNVERIFIED:
        # Security: the key is made from the whole body instead of the request id. A forged delivery may contain the id
        # of a real one. If their keys were equal, the real delivery would count as a copy and would not be spooled.
        return _hash(metadata.conn_id, metadata.signature, sha256(body).hexdigest(), *event)
    return _hash(metadata.conn_id, metadata.request_id, *event)


def _hash(*words: str) -> str:
    return sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()[:32]


def _entry(name: str, status: os.stat_result) -> SpoolEntry | None:
    stem, _, suffix = name.partition(".")
    if suffix not in set(DeliveryKind):
        return None
    return SpoolEntry(name, DeliveryKind(suffix), stem.partition("-")[0], status.st_size)


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed or the process ends. Return ``False`` if it is locked already."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # Without locks a result may be stored twice, which does no harm.
        pass
    return True


def _is_there(path: Path, file: IO[bytes]) -> bool:
    """Return whether an open file is still at its path. It may have been deleted before it was locked."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
