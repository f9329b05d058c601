"""Queue of the relay: a folder in which ``relay_handler.py`` writes one file for each delivery."""

import base64
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_baseten.arguments import check_no_password
from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError
from airflow_provider_baseten.storage import file_rights, files
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery

#: Folder in the queue for the deliveries that are refused.
REFUSED = "refused"
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A file of the queue.

    :param name: name of the file.
    :param size: size in bytes.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """Content of a file of the queue. Anybody may have sent it.

    :param conn_id: connection in the URL of the delivery.
    :param arrived: when the delivery arrived, in seconds since the epoch by the clock of the function.
    :param delivery: the delivery as it was received.
    """

    conn_id: str
    arrived: float
    delivery: ReceivedDelivery

    @classmethod
    def parse(cls, content: bytes) -> "QueuedDelivery":
        """Parse a file.

        :raises ValueError: the function has not written this.
        """
        try:
            entry = json.loads(content)
            conn_id, signature, request_id = entry["conn_id"], entry["signature"], entry["request_id"]
            is_event = entry.get("is_event") is True  # Earlier versions of the function do not write it.
            arrived, body = float(entry["arrived"]), base64.b64decode(entry["body"], validate=True)
        except (AttributeError, KeyError, TypeError, OverflowError, RecursionError):
            raise ValueError("not a delivery as the function writes it") from None
        is_text = isinstance(conn_id, str) and isinstance(signature, str)
        if not (is_text and isinstance(request_id, str | None) and math.isfinite(arrived)):
            raise ValueError("not a delivery as the function writes it")
        delivery = ReceivedDelivery(body=body, signature=signature, request_id=request_id, is_event=is_event)
        return cls(conn_id, arrived, delivery)


class RelayQueue:
    """Folder with one file for each delivery. Several processes may work on the same folder.

    :param uri: URI of the folder, or local path.
    :raises BasetenInputError: there is a password in the URI.
    :raises BasetenResultStoreError: the folder or a file could not be read or changed. Every method may raise it.
    """

    def __init__(self, uri: str) -> None:
        check_no_password("The URI of the queue", uri)
        self.uri = uri.rstrip("/")

    def check(self) -> None:
        """Check that there is such a bucket or, without buckets, the folder or the one above it.

        Without them, the queue would seem empty.

        :raises BasetenResultStoreError: there is none, or it can't be looked up.
        """
        with self._reported("read"):
            local, remote = files.locate(self.uri)
            if local is not None:
                missing = "" if local.is_dir() or local.parent.is_dir() else f"folder {local.parent}"
            elif remote.path.startswith("/"):  # A file system with folders, such as SFTP, has no buckets.
                folder = remote.parent.path
                missing = (
                    "" if _is_there(remote.fs, remote.path) or _is_there(remote.fs, folder) else f"folder {folder}"
                )
            else:
                missing = "" if _is_there(remote.fs, remote.bucket) else f"bucket {remote.bucket}"
        if missing:
            raise BasetenResultStoreError(f"There is no {missing}: check the queue's URI.")

    def entries(self) -> list[QueueEntry]:
        """Return all files; none if the folder does not exist. The folder of refused deliveries does not count."""
        with self._reported("read"), suppress(FileNotFoundError):
            local, remote = files.locate(self.uri)
            return [*(_local_entries(str(local)) if local is not None else _remote_entries(remote))]
        return []

    def read(self, entry: QueueEntry) -> bytes | None:
        """Return the content of a file, ``None`` if another process has moved or deleted it."""
        return files.read(f"{self.uri}/{entry.name}")

    def remove(self, entry: QueueEntry) -> None:
        """Delete a file if it exists."""
        files.remove(f"{self.uri}/{entry.name}")

    def refuse(self, entry: QueueEntry) -> bool:
        """Move a file to the folder of refused deliveries; return whether this process has moved it.

        The value is ``False`` if there is no such file any more, because another process has moved or deleted it.

        In an object store the file is copied and then deleted. After a crash in between it is found again, and is
        moved again. If two processes copy it before one of them deletes it, the value may be ``True`` for both, because
        object stores do not report that a file to delete is gone.
        """
        with self._reported("changed"):
            local, remote = files.locate(self.uri)
            if local is not None:
                file_rights.make_folder(local / REFUSED)
                with suppress(FileNotFoundError):
                    (local / entry.name).replace(local / REFUSED / entry.name)
                    return True
                return False
            (remote / REFUSED).mkdir(parents=True, exist_ok=True)
            source = (remote / entry.name).path
            try:
                # Not `mv`, which reads `*`, `?` and `[` in a path as a pattern, and then moves files to other names.
                remote.fs.cp_file(source, (remote / REFUSED / entry.name).path)
                remote.fs.rm_file(source)
            except FileNotFoundError:
                if _is_there(remote.fs, source):
                    raise
                return False
        return True

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BasetenError, FileNotFoundError):
            raise
        except Exception as error:
            raise BasetenResultStoreError(
                f"The queue {self.uri} could not be {what} ({files.reason(error)})."
            ) from error


def _is_there(fs: Any, path: str) -> bool:
    try:
        fs.info(path)
    except FileNotFoundError:
        return False
    return True


def _local_entries(folder: str) -> Iterator[QueueEntry]:
    with os.scandir(folder) as found:
        for file in found:
            with suppress(FileNotFoundError):  # Another process has just deleted it.
                if file.name.endswith(_SUFFIX) and file.is_file(follow_symlinks=False):
                    yield QueueEntry(file.name, file.stat(follow_symlinks=False).st_size)


def _remote_entries(folder: Any) -> Iterator[QueueEntry]:
    folder.fs.invalidate_cache(folder.path)  # Other processes write there, so a cached listing may be out of date.
    for found in folder.fs.ls(folder.path, detail=True):
        name = PurePosixPath(found["name"]).name
        if name.endswith(_SUFFIX) and found["type"] == "file":
            yield QueueEntry(name, found["size"] or 0)
    folder.fs.invalidate_cache(folder.path)  # The cached listing of a million files would keep 700 MB of memory.
