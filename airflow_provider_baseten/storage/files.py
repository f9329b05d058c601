"""Whole files at any URI: written so that a reader sees all of a file or nothing."""

import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.storage import file_rights

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

PIECE_BYTES = 1 << 20


def write(uri: str, body: bytes | LargeBody, *, store: str | None = None) -> None:
    """Write a file whole: a reader sees all of it or nothing.

    :param store: URI of the store that it belongs to: folders that are made in it get its rights, others are their
        owner's alone.
    :raises BasetenResultStoreError: it could not be written; the message names the URI.
    """
    try:
        path = object_path(uri)
        if not is_local(path):  # An object store shows an object when its upload is complete.
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.fs.open(path.path, "wb") as file:
                _copy(body, file)
            return
        target = Path(path.path)
        make_folder(target.parent, store)
        part = target.parent / f".{uuid4().hex}.part"
        try:
            with file_rights.create(part) as file:
                _copy(body, file)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except Exception as error:
        size = body.size if isinstance(body, LargeBody) else len(body)
        raise BasetenResultStoreError(f"{size:,} bytes could not be written to {uri} ({reason(error)}).") from error


def check_writable(uri: str, name: str = "output_path") -> None:
    """Find out before anything is sent whether a file could be written.

    :param uri: of the file, or with a trailing slash of the folder.
    :param name: of the argument, for the message.
    :raises BasetenResultStoreError: the scheme, the connection or the folder is not usable.
    """
    try:
        path = object_path(uri)
        folder = path if uri.endswith("/") else path.parent
        if is_local(path):
            file_rights.make_folder(Path(folder.path))
            probe = Path(folder.path) / f".{uuid4().hex}.part"
            file_rights.create(probe).close()
            probe.unlink()
            with suppress(FileNotFoundError):
                os.lstat(path.path)  # Raises for a name that no file can have.
        else:
            folder.mkdir(parents=True, exist_ok=True)
        occupied = folder != path and path.is_dir()
    except Exception as error:
        raise BasetenResultStoreError(f"{name} {uri} is not usable ({reason(error)}); nothing was sent.") from error
    if occupied:
        raise BasetenResultStoreError(f"{name} {uri} is a folder: end it with '/' to write into it; nothing was sent.")


def object_path(uri: str) -> "ObjectStoragePath":
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri)


def make_folder(folder: Path, store: str | None) -> None:
    """Make a folder with the rights of the store that it is in, or else for its owner alone."""
    mode = file_rights.OWNER_ONLY
    if store is not None:
        root = Path(object_path(store).path)
        file_rights.make_folder(root)
        mode = file_rights.mode_of(root)
    file_rights.make_folder(folder, mode)


def create_remote(path: Any, body: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(body)
    except FileExistsError:
        return False
    except (NotImplementedError, ValueError):
        if exists(path):
            return False
        path.write_bytes(body)
    return True


def listed(folder: Any) -> list[str]:
    """Return the names of the files in a folder. Others write there: what was listed before is not what is there."""
    folder.fs.invalidate_cache(folder.path)
    return [PurePosixPath(found).name for found in folder.fs.ls(folder.path, detail=False)]


def exists(path: Any) -> bool:
    """Tell whether a file is there. Most file systems of fsspec would say no where they can't tell."""
    try:
        path.fs.info(path.path)
    except FileNotFoundError:
        return False
    return True


def exists_locally(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - much faster than a Path.
    except FileNotFoundError:
        return False
    return True


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _copy(body: bytes | LargeBody, file: IO[bytes]) -> None:
    if isinstance(body, LargeBody):
        with body.open() as source:
            shutil.copyfileobj(source, file, PIECE_BYTES)
    else:
        file.write(body)


def is_local(path: "ObjectStoragePath") -> bool:
    return path.protocol in {"", "file", "local"}
