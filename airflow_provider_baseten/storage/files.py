"""Files at any URI, read and written whole: local ones directly, all others through Airflow's ``ObjectStoragePath``.

While :func:`write` writes a file, no reader sees an incomplete file. If a file can't be read, the functions of this
module raise an error, and never treat the file as missing. The error names the file and the reason. The caller can use
:func:`consequence` to add a sentence about what the failure means for a request.
"""

import io
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.arguments import check_no_password
from airflow_provider_baseten.exceptions import BasetenError, BasetenResultStoreError
from airflow_provider_baseten.storage import file_rights
from airflow_provider_baseten.storage.packages import missing_package

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem

_CHUNK_BYTES = 1 << 20
# Up to this number of files of an object store are looked up one by one, because listing their folder would cost more.
_MAX_LOOKUPS = 32
# The name of a temporary file contains at most this many characters of the final file's name. A longer name might be
# refused, because file systems allow 255 bytes, and a character takes up to 4 bytes.
_TEMPORARY_NAME_LENGTH = 50

# The part of a local file's URI that comes before the path: `file:` or `local:`, then optionally `//`. The `//` may be
# followed by the host name `localhost`, or by the id of an Airflow connection and `@`.
_FILE_SCHEME = re.compile(r"(?:file|local):(?=/)(?://(?:(?:localhost|[^/]*@)(?=/))?)?", re.IGNORECASE)


def local_path(uri: str) -> Path | None:
    """Return the local path that a URI stands for, ``None`` if the file is somewhere else.

    Everything after the scheme belongs to the path, even ``#``, ``?`` and ``%``. Airflow's ``ObjectStoragePath`` reads
    such a URI in the same way.

    :raises BasetenInputError: there is a password in the URI.
    """
    check_no_password("The URI of a file or folder", uri)
    if scheme := _FILE_SCHEME.match(uri):
        return Path(uri[scheme.end() :])
    return None if "://" in uri else Path(uri)


def object_path(uri: str) -> "ObjectStoragePath":
    """Return the path of a URI in an object store, with the file system of its Airflow connection."""
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri)


def locate(uri: str) -> tuple[Path | None, Any]:
    """Return a pair for a URI: its local path and ``None``, or ``None`` and its :func:`object_path`."""
    local = local_path(uri)
    return local, None if local is not None else object_path(uri)


@contextmanager
def consequence(sentence: str) -> Iterator[None]:
    """Add a sentence to a storage error that the ``with`` block raises.

    :param sentence: what the failure means for the request, for example ``Nothing was sent.``
    """
    try:
        yield
    except BasetenResultStoreError as error:
        error.args = (f"{error} {sentence}", *error.args[1:])
        raise


def read(uri: str) -> bytes | None:
    """Return the content of a file, ``None`` if there is no such file.

    :raises BasetenResultStoreError: the file could not be read.
    """
    with _reported(f"{uri} could not be read"):
        local, remote = locate(uri)
        try:
            content: bytes = (local or remote).read_bytes()
        except FileNotFoundError:
            return None
        return content


def read_large(uri: str) -> LargeBody:
    """Return the content of a file without holding it in memory.

    :raises BasetenResultStoreError: there is no such file, or it could not be read.
    """
    body = LargeBody()
    with _reported(f"{uri} could not be read"), _open(uri) as file:
        while chunk := file.read(_CHUNK_BYTES):
            body.append(chunk)
    return body


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """Open a file to read it.

    :raises FileNotFoundError: there is no such file.
    :raises BasetenResultStoreError: the file could not be opened, or could not be read in the ``with`` block.
    """
    with _reported(f"{uri} could not be read", FileNotFoundError), _open(uri) as file:
        yield file


def write(uri: str, body: bytes | LargeBody, *, root: str | None = None) -> None:
    """Write a file, so that a reader sees all of it or nothing.

    :param root: URI of a folder above the file. New folders below ``root`` get the permissions of ``root``. Without a
        ``root``, only the owner of a new folder can use it.
    :raises BasetenResultStoreError: the file could not be written.
    """
    size = body.size if isinstance(body, LargeBody) else len(body)
    with _reported(f"{size:,} bytes could not be written to {uri}"):
        local, remote = locate(uri)
        if local is None:  # An object store shows an object only when its upload is complete.
            remote.parent.mkdir(parents=True, exist_ok=True)
            with remote.fs.open(remote.path, "wb") as file:
                _copy(body, file)
            return
        _make_folder(local.parent, root)
        temporary = local.parent / f".{local.name[:_TEMPORARY_NAME_LENGTH]}.{uuid4().hex}.part"
        try:
            with file_rights.create_file(temporary) as file:
                _copy(body, file)
            temporary.replace(local)
        finally:
            temporary.unlink(missing_ok=True)


def create(uri: str, body: bytes, *, root: str | None = None) -> bool:
    """Write a file if there is no such file; return whether it was written.

    If several processes create the same file, one of them gets ``True``. Some storages have no exclusive creation. In
    them, the function first looks for the file and then writes it, so two processes may both get ``True``.

    :param root: see :func:`write`.
    :raises BasetenResultStoreError: the file could not be written.
    """
    with _reported(f"{uri} could not be created"):
        local, remote = locate(uri)
        if local is None:
            return _create_object(remote, body)
        _make_folder(local.parent, root)
        try:
            with file_rights.create_file(local) as file:
                file.write(body)
        except FileExistsError:
            return False
        return True


def remove(uri: str) -> None:
    """Delete a file if it exists.

    :raises BasetenResultStoreError: the file could not be deleted.
    """
    with _reported(f"{uri} could not be deleted"), suppress(FileNotFoundError):
        local, remote = locate(uri)
        if local is not None:
            local.unlink()
        else:
            remote.fs.rm_file(remote.path)


def size_of(uri: str) -> int | None:
    """Return the size of a file in bytes, ``None`` if there is no such file.

    :raises BasetenResultStoreError: the size could not be read.
    """
    with _reported(f"The size of {uri} could not be read"):
        local, remote = locate(uri)
        try:
            return int((local or remote).stat().st_size)
        except FileNotFoundError:
            return None


def names_in(uri: str) -> list[str]:
    """Return the names of the files in a folder, sorted; none if there is no such folder.

    :raises BasetenResultStoreError: the folder could not be read.
    """
    with _reported(f"{uri} could not be read"):
        local, remote = locate(uri)
        try:
            if local is not None:
                return sorted(entry.name for entry in os.scandir(local) if entry.is_file())
            return sorted(_names_of_objects(remote))
        except FileNotFoundError:
            return []


def existing(uri: str, names: Collection[str]) -> set[str]:
    """Return those of the names for which there is a file in the folder.

    :param uri: URI of the folder.
    :raises BasetenResultStoreError: the folder could not be read.
    """
    with _reported(f"{uri} could not be read"):
        local, remote = locate(uri)
        if local is not None:
            folder = os.fspath(local)
            return {name for name in names if _exists_locally(f"{folder}/{name}")}
        try:
            if len(names) > _MAX_LOOKUPS:
                return {*names} & {*_names_of_objects(remote)}
            remote.fs.invalidate_cache(remote.path)
            return {name for name in names if _object_exists(remote / name)}
        except FileNotFoundError:
            return set()


def check_writable(uri: str, name: str = "output_path") -> None:
    """Check that a file can be written, without writing it.

    On a local disk, the function writes another file beside it, and deletes that file. In an object store, the
    function only makes the folder of the file.

    :param uri: URI of the file; with a trailing slash, URI of its folder.
    :param name: name of the argument that holds the URI, for the message.
    :raises BasetenResultStoreError: the scheme, the connection or the folder is not usable.
    """
    is_folder = uri.endswith("/")
    with _reported(f"{name} {uri} is not usable"):
        local, remote = locate(uri)
        if local is not None:
            _check_local(local, is_folder=is_folder)
        else:
            (remote if is_folder else remote.parent).mkdir(parents=True, exist_ok=True)
        occupied = not is_folder and (local or remote).is_dir()
    if occupied:
        raise BasetenResultStoreError(f"{name} {uri} is a folder: end it with '/' to write into it.")


def open_remote(fs: "AbstractFileSystem", path: str) -> io.BufferedReader:
    """Open a file of an object store to read it."""
    return io.BufferedReader(fs.open(path, "rb"), _CHUNK_BYTES)  # Reads lines faster than the file objects of fsspec.


def reason(error: Exception) -> str:
    """Return the type and the text of an error, cut to 300 characters; for a missing package, what to install."""
    return f"{type(error).__name__}: {error}"[:300] + missing_package(error)


@contextmanager
def _reported(failure: str, *passed: type[Exception]) -> Iterator[None]:
    """Turn an error of a file system into a storage error.

    :param failure: what could not be done, and where.
    :param passed: types of errors that are raised unchanged.
    """
    left: tuple[type[Exception], ...] = (BasetenError, *passed)
    try:
        yield
    except left:
        raise
    except Exception as error:
        raise BasetenResultStoreError(f"{failure} ({reason(error)}).") from error


def _open(uri: str) -> IO[bytes]:
    local, remote = locate(uri)
    return local.open("rb", buffering=_CHUNK_BYTES) if local is not None else open_remote(remote.fs, remote.path)


def _copy(body: bytes | LargeBody, file: IO[bytes]) -> None:
    if isinstance(body, LargeBody):
        with body.open() as source:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
    else:
        file.write(body)


def _make_folder(folder: Path, root: str | None) -> None:
    mode = file_rights.OWNER_ONLY
    if root is not None and (top := local_path(root)) is not None:
        file_rights.make_folder(top)
        mode = file_rights.mode_of(top)
    file_rights.make_folder(folder, mode)


def _check_local(path: Path, *, is_folder: bool) -> None:
    folder = path if is_folder else path.parent
    file_rights.make_folder(folder)
    probe = folder / f".{uuid4().hex}.part"
    file_rights.create_file(probe).close()
    probe.unlink()
    with suppress(FileNotFoundError):
        path.lstat()  # Raises an error for an impossible name, such as one that is too long.


def _create_object(path: Any, body: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(body)
    except FileExistsError:
        return False
    except (NotImplementedError, ValueError):
        if _object_exists(path):
            return False
        path.write_bytes(body)
    return True


def _names_of_objects(folder: Any) -> list[str]:
    folder.fs.invalidate_cache(folder.path)  # Other processes write there, so a cached listing may be out of date.
    return [PurePosixPath(found).name for found in folder.fs.ls(folder.path, detail=False)]


def _object_exists(path: Any) -> bool:
    try:
        path.fs.info(path.path)  # exists() of most fsspec file systems returns False when they can't be reached.
    except FileNotFoundError:
        return False
    return True


def _exists_locally(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - a Path for each of ten thousand names takes three times as long.
    except FileNotFoundError:
        return False
    return True
