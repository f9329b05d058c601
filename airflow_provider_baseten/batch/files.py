"""Files and folders: a local path directly, every other URI through Airflow's ``ObjectStoragePath``."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultStoreError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What object stores say about a version of an object, the most telling first.
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "updated", "mtime", "created")


def local_path(uri: str) -> Path | None:
    """Return the local path that a URI stands for, ``None`` if it is somewhere else."""
    if "://" not in uri:
        return Path(uri)
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else None


class Folder:
    """The folder that a job writes to.

    :param uri: local path or URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._local = local_path(self.uri)

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in it."""
        return f"{self.uri}/{name}"

    def prepare(self) -> None:
        """Make the folder, and find out whether files can be written to it.

        :raises BasetenResultStoreError: they can't.
        """
        if self._local is None:
            from airflow_provider_baseten import results

            results.check_writable(f"{self.uri}/")
            return
        try:
            self._local.mkdir(parents=True, exist_ok=True)
            probe = self._local / f".{uuid4().hex}.part"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise BasetenResultStoreError(
                f"output_path {self.uri} can't be written to ({_reason(error)}); nothing was sent."
            ) from error

    def names(self) -> list[str]:
        """Return the names of the files in it, sorted; none if there is no folder."""
        try:
            if self._local is not None:
                return sorted(entry.name for entry in os.scandir(self._local) if entry.is_file())
            fs, path = _remote(self.uri)
            fs.invalidate_cache(path)
            return sorted(PurePosixPath(found).name for found in fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise BasetenResultStoreError(f"output_path {self.uri} can't be read ({_reason(error)}).") from error

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
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BasetenResultStoreError(f"{self.uri_of(name)} could not be read ({_reason(error)}).") from error

    def write(self, name: str, body: bytes) -> None:
        """Write a file whole: a reader sees all of it or nothing.

        :raises BasetenResultStoreError: it could not be written.
        """
        if self._local is None:
            from airflow_provider_baseten import results

            results.write(self.uri_of(name), body)
            return
        part = self._local / f".{name}.part"
        try:
            part.write_bytes(body)
            part.replace(self._local / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BasetenResultStoreError(
                f"{self.uri_of(name)} ({len(body):,} bytes) could not be written ({_reason(error)}). The rows in "
                "it are sent again by the next run: check the folder and its free space."
            ) from error

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        try:
            if self._local is not None:
                (self._local / name).unlink(missing_ok=True)
                return
            fs, path = _remote(self.uri_of(name))
            fs.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise BasetenResultStoreError(f"{self.uri_of(name)} can't be deleted ({_reason(error)}).") from error


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read rows from.

    :param uri: its path or URI.
    :param size: in bytes.
    :param version: changes when the content does.
    """

    uri: str
    size: int
    version: str

    @property
    def suffix(self) -> str:
        """Lower-case suffix, which tells the format."""
        return PurePosixPath(self.uri).suffix.lower()

    def open(self) -> IO[bytes]:
        """Open it to read.

        :raises BasetenInputError: it can't be read.
        """
        try:
            return _open(self.uri)
        except Exception as error:
            raise BasetenInputError(f"{self.uri} can't be read ({_reason(error)}).") from error


def find(input_path: str, suffixes: tuple[str, ...]) -> list[InputFile]:
    """Return the files of a path, sorted: the file itself, those of a folder and its subfolders, or those of a glob.

    Names that begin with a dot or an underscore are left out of folders.

    :raises BasetenInputError: there is none.
    """
    try:
        files = _find_local(input_path) if local_path(input_path) is not None else _find_remote(input_path)
    except Exception as error:
        raise BasetenInputError(f"input_path {input_path} can't be read ({_reason(error)}).") from error
    found = [file for file in files if file.suffix in suffixes]
    if not found:
        raise BasetenInputError(f"input_path {input_path} has no file with one of the suffixes {', '.join(suffixes)}.")
    return sorted(found, key=lambda file: file.uri)


def _find_local(input_path: str) -> list[InputFile]:
    path = local_path(input_path)
    assert path is not None  # noqa: S101
    if path.is_file():
        paths = [path]
    elif path.is_dir():
        paths = [p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path).parts)]
    else:
        root = Path(path.anchor)
        paths = [p for p in root.glob(str(path.relative_to(root))) if p.is_file()]
    stats = [(p, p.stat()) for p in paths]
    return [InputFile(str(p), stat.st_size, str(stat.st_mtime_ns)) for p, stat in stats]


def _find_remote(input_path: str) -> list[InputFile]:
    fs, path = _remote(input_path)
    fs.invalidate_cache()
    if "*" in path:
        found = fs.glob(path, detail=True)
    elif fs.isdir(path):
        found = fs.find(path, detail=True)
        found = {p: info for p, info in found.items() if not _hidden(PurePosixPath(p[len(path) :]).parts)}
    else:
        found = {path: fs.info(path)}
    # "s3://conn_id@" in front of the bucket: the connection is not part of what the storage calls its files.
    scheme, _, rest = input_path.partition("://")
    authority = rest.partition("/")[0]
    prefix = f"{scheme}://{authority.rpartition('@')[0]}{'@' if '@' in authority else ''}"
    return [
        InputFile(
            f"{prefix}{p.lstrip('/')}",
            info["size"] or 0,
            str(next((info[k] for k in _VERSION_KEYS if info.get(k)), "")),
        )
        for p, info in found.items()
        if info["type"] == "file"
    ]


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _open(uri: str) -> IO[bytes]:
    path = local_path(uri)
    if path is not None:
        return path.open("rb", buffering=1 << 20)
    fs, remote = _remote(uri)
    return io.BufferedReader(fs.open(remote, "rb"), 1 << 20)  # Lines are found faster in it than by fsspec.


def _remote(uri: str) -> "tuple[AbstractFileSystem, str]":
    from airflow.sdk import ObjectStoragePath

    path: Any = ObjectStoragePath(uri)
    return path.fs, path.path


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
