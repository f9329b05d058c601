"""Files and folders: a local path directly, every other URI through Airflow's ``ObjectStoragePath``."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError
from airflow_provider_baseten.storage import file_rights, files

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_FILE_SCHEME = re.compile(r"(?:file|local):(?=/)(?://(?:localhost(?=/))?)?", re.IGNORECASE)


def local_path(uri: str) -> Path | None:
    """Return the local path that a URI stands for, ``None`` if it is somewhere else.

    Everything after the scheme is the path, ``#``, ``?`` and ``%`` too, as for Airflow's ``ObjectStoragePath``.
    """
    if scheme := _FILE_SCHEME.match(uri):
        return Path(uri[scheme.end() :])
    return None if "://" in uri else Path(uri)


class Folder:
    """The folder that a job writes to.

    :param uri: local path or URI.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = path_text("output_path", uri).rstrip("/")
        self._local = local_path(self.uri)

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in it."""
        return f"{self.uri}/{name}"

    def holds(self, uri: str) -> bool:
        """Return whether a local path or URI is that of a file in it."""
        local = local_path(uri)
        if self._local is None or local is None:
            return uri.rpartition("/")[0] == self.uri
        return local.parent.absolute() == self._local.absolute()

    def prepare(self) -> None:
        """Make the folder, and find out whether files can be written to it.

        :raises BasetenResultStoreError: they can't.
        """
        if self._local is None:
            pass

            files.check_writable(f"{self.uri}/")
            return
        try:
            file_rights.make_folder(self._local)
            probe = self._local / f".{uuid4().hex}.part"
            file_rights.create(probe).close()
            probe.unlink()
        except OSError as error:
            raise BasetenResultStoreError(
                f"output_path {self.uri} can't be written to ({reason(error)}); nothing was sent."
            ) from error

    def names(self) -> list[str]:
        """Return the names of the files in it, sorted; none if there is no folder."""
        try:
            if self._local is not None:
                return sorted(entry.name for entry in os.scandir(self._local) if entry.is_file())
            fs, path = remote(self.uri)
            fs.invalidate_cache(path)
            return sorted(PurePosixPath(found).name for found in fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise BasetenResultStoreError(f"output_path {self.uri} can't be read ({reason(error)}).") from error

    def read(self, name: str) -> bytes | None:
        """Return a file whole, ``None`` if there is none."""
        try:
            with self.open(name) as file:
                return file.read()
        except FileNotFoundError:
            return None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to read it."""
        try:
            with _open(self.uri_of(name)) as file:
                yield file
        except (FileNotFoundError, BasetenError):
            raise
        except Exception as error:
            raise BasetenResultStoreError(f"{self.uri_of(name)} could not be read ({reason(error)}).") from error

    def write(self, name: str, body: bytes) -> None:
        """Write a file whole: a reader sees all of it or nothing.

        :raises BasetenResultStoreError: it could not be written.
        """
        if self._local is None:
            pass

            files.write(self.uri_of(name), body)
            return
        part = self._local / f".{name}.part"
        try:
            part.unlink(missing_ok=True)  # Of a run that was killed while it wrote.
            with file_rights.create(part) as file:
                file.write(body)
            part.replace(self._local / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BasetenResultStoreError(
                f"{self.uri_of(name)} ({len(body):,} bytes) could not be written ({reason(error)}). The rows in "
                "it are sent again by the next run: check the folder and its free space."
            ) from error

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        try:
            if self._local is not None:
                (self._local / name).unlink(missing_ok=True)
                return
            fs, path = remote(self.uri_of(name))
            fs.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise BasetenResultStoreError(f"{self.uri_of(name)} can't be deleted ({reason(error)}).") from error


def _open(uri: str) -> IO[bytes]:
    path = local_path(uri)
    if path is not None:
        return path.open("rb", buffering=1 << 20)
    return open_remote(*remote(uri))


def open_remote(fs: "AbstractFileSystem", path: str) -> io.BufferedReader:
    """Open a file of an object store to read it."""
    return io.BufferedReader(fs.open(path, "rb"), 1 << 20)  # Lines are found faster in it than by fsspec.


def remote(uri: str) -> "tuple[AbstractFileSystem, str]":
    """Return the file system of a URI, and what the file system calls its path."""
    from airflow.sdk import ObjectStoragePath

    path: Any = ObjectStoragePath(uri)
    return path.fs, path.path


def reason(error: Exception) -> str:
    """Return an error in a few words."""
    return f"{type(error).__name__}: {error}"[:300]
