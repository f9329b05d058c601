"""Input files: a single file, the files of a folder, or the matches of a glob."""

import glob
import gzip
import io
import logging
import os
import stat
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from airflow_provider_baseten.api.excerpts import join_first
from airflow_provider_baseten.batch.compression import COMPRESSIONS
from airflow_provider_baseten.batch.formats import INPUT_FORMATS, input_format_of
from airflow_provider_baseten.batch.input_file import InputFile, suffixes_of
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.storage.files import local_path, object_path, open_remote, reason

_LOG = logging.getLogger(__name__)

# Suffixes of data files that this package can't read. A file with such a suffix is an error. Files with other unknown
# suffixes only cause a warning.
_OTHER_DATA = {
    ".json",
    ".jsonlines",
    ".tsv",
    ".xml",
    ".avro",
    ".orc",
    ".arrow",
    ".feather",
    ".parq",
    ".pq",
    ".pkl",
    ".xls",
    ".xlsx",
}
_OTHER_COMPRESSIONS = {".bz2", ".xz", ".zip", ".lz4", ".snappy", ".gzip", ".zstd", ".tar", ".tgz", ".7z"}
_DATA_SUFFIXES = {*INPUT_FORMATS, *COMPRESSIONS, *_OTHER_DATA, *_OTHER_COMPRESSIONS}

# Metadata keys of an object in remote storage. The value of each key changes when the content of the object changes.
# The most precise key comes first. The version of an object is the value of the first of these keys in the
# object's metadata.
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "updated", "mtime", "created")

_MAX_NAMES = 10

# Errors of the path, a library or the content of a file. A retry does not fix them.
_PERMANENT_ERRORS = (ValueError, ImportError, PermissionError, EOFError, gzip.BadGzipFile, zlib.error)


def find(input_path: str) -> list[InputFile]:
    """Return the input files of a path, sorted by name.

    If the path is the name of a file, this file is the only input file. If it is the name of a folder, the input files
    are those in the folder and in its subfolders. Otherwise the path is a glob.

    Names that begin with a dot or an underscore are left out of folders and globs. A file whose format this package
    can't read is an error if it has a suffix of data files, such as ``.xlsx``. Any other file that this package can't
    read is left out with a warning.

    :raises BasetenInputError: there is no file to read, or a file can't be read. The error is ``retryable`` if a retry
        may succeed.
    """
    local = local_path(input_path)
    try:
        found = _find_local(input_path) if local is not None else _find_remote(input_path)
        files = sorted(found, key=lambda file: file.uri)
    except BasetenError:
        raise
    except _NothingThereError:
        raise _missing(input_path, local) from None
    except Exception as error:
        raise BasetenInputError(
            f"input_path {input_path} can't be read ({reason(error)}).", retryable=is_transient(error, input_path)
        ) from error
    _check_names(input_path, files)
    readable = [file for file in files if input_format_of(file) is not None]
    if not readable:
        raise _unreadable(input_path, files)
    return readable


class _NothingThereError(Exception):
    """Neither a file nor a folder has the name of the path."""


def _missing(input_path: str, local: Path | None) -> BasetenInputError:
    what = "is a glob that nothing matches" if glob.has_magic(input_path) else "does not exist"
    where = "" if local is None or local.is_absolute() else f" (looked for at {local.absolute()})"
    return BasetenInputError(
        f"input_path {input_path} {what}{where}: check the path, and whether the program that writes it has finished.",
        retryable=True,
    )


def _unreadable(input_path: str, files: list[InputFile]) -> BasetenInputError:
    endings = f"{', '.join(INPUT_FORMATS)}, also with {' or '.join(COMPRESSIONS)} behind it"
    what = (
        "has no file whose name ends in one of" if files else "is an empty folder; rows are read from files that end in"
    )
    # If the path names a folder, a retry may find new files. If it names a file, the format of the file stays the same,
    # so a retry does not help.
    is_named = len(files) == 1 and PurePosixPath(files[0].uri).name == PurePosixPath(input_path).name
    return BasetenInputError(f"input_path {input_path} {what} {endings}.", retryable=not is_named)


def is_transient(error: Exception, uri: str) -> bool:
    """Return whether a retry may succeed after this error, for example because the missing file is created later."""
    if isinstance(error, _PERMANENT_ERRORS):
        return False
    return local_path(uri) is None or isinstance(error, FileNotFoundError | ConnectionError | TimeoutError)


def _check_names(input_path: str, files: list[InputFile]) -> None:
    for file in files:
        found = input_format_of(file)
        if file.compression is not None and found is not None and found.compresses_itself:
            raise BasetenInputError(
                f"{file.uri} is a {found.name} file that is compressed as a whole: decompress it, {found.name} "
                "compresses what is in it by itself."
            )
        if _surrogates(file.uri):
            raise BasetenInputError(f"input_path {input_path} has the file {file.uri!r}, whose name is not UTF-8.")
    unread = [file.uri for file in files if input_format_of(file) is None]
    if data := [uri for uri in unread if _DATA_SUFFIXES.intersection(suffixes_of(uri))]:
        raise BasetenInputError(
            f"input_path {input_path} has files that can't be read: {join_first(data, _MAX_NAMES)}. Rows are read "
            f"from {', '.join(INPUT_FORMATS)}, plain or compressed ({', '.join(COMPRESSIONS)}): convert them, or give "
            "a glob that leaves them out."
        )
    if unread and len(unread) < len(files):
        _LOG.warning(
            "input_path %s: not read, because their names have no known suffix: %s.",
            input_path,
            join_first(unread, _MAX_NAMES),
        )


def _surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _find_local(input_path: str) -> list[InputFile]:
    given = local_path(input_path)
    assert given is not None  # noqa: S101
    paths = [given]
    if "://" in input_path and "%" in input_path:
        paths.append(Path(unquote(str(given))))  # Path.as_uri() writes some characters as %XX.
    for path in paths:
        if path.exists():
            return list(map(_local_file, _files_of(path)))
    if not glob.has_magic(str(given)):
        raise _NothingThereError
    matches = map(Path, glob.glob(str(given), recursive=True))  # noqa: PTH207 - it follows links, Path.glob does not.
    wanted = [path for path in matches if not _hidden(path.name, given.name)]
    if not wanted:
        raise _NothingThereError
    return [_local_file(file) for file in dict.fromkeys(file for path in wanted for file in _files_of(path))]


def _files_of(path: Path) -> Iterator[Path]:
    """Yield the file itself, or the files of a folder and its subfolders; links are followed."""
    if not path.is_dir():
        yield path
        return
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # A link has led back to a parent folder.
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not _hidden(name)]
        yield from (Path(folder, name) for name in names if not _hidden(name))


def _raise(error: OSError) -> None:
    raise error


def _local_file(path: Path) -> InputFile:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BasetenInputError(f"{path} is not a regular file.")
    return InputFile(str(path), status.st_size, str(status.st_mtime_ns), partial(_open_local, path))


def _open_local(path: Path) -> io.BufferedReader:
    return io.BufferedReader(io.FileIO(path), 1 << 20)


def _find_remote(input_path: str) -> list[InputFile]:
    remote: Any = object_path(input_path)
    fs, path = remote.fs, remote.path
    fs.invalidate_cache()
    found: dict[str, dict[str, Any]] = {}
    try:
        found[path] = fs.info(path)
    except FileNotFoundError:
        if not glob.has_magic(path):
            raise _NothingThereError from None
        pattern = PurePosixPath(path).name
        matches = fs.glob(path, detail=True).items()
        found = {p: info for p, info in matches if not _hidden(PurePosixPath(p).name, pattern)}
        if not found:
            raise _NothingThereError from None
    # The storage returns paths without the connection id of "s3://conn_id@bucket", so the id is put in again.
    scheme, _, rest = input_path.partition("://")
    authority = rest.partition("/")[0]
    prefix = f"{scheme}://{authority.rpartition('@')[0]}{'@' if '@' in authority else ''}"
    return [
        InputFile(
            f"{prefix}{p.lstrip('/')}",
            info["size"] or 0,
            str(next((info[k] for k in _VERSION_KEYS if info.get(k)), "")),
            partial(open_remote, fs, p),
        )
        for p, info in _remote_files(fs, found).items()
        if info["type"] == "file" and not p.endswith("/")
    ]


def _remote_files(fs: Any, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Replace each folder by the files in it and in its subfolders."""
    files = {}
    for path, info in found.items():
        if info["type"] != "directory":
            files[path] = info
            continue
        inside = fs.find(path, detail=True)
        depth = len(PurePosixPath(path.strip("/")).parts)
        names = {p: PurePosixPath(p.strip("/")).parts[depth:] for p in inside}
        files |= {p: inside[p] for p, parts in names.items() if not any(map(_hidden, parts))}
    return files


def _hidden(name: str, pattern: str = "*") -> bool:
    """Return whether a name is left out.

    A name that begins with a dot or an underscore is left out, unless the pattern begins with the same character.
    """
    return name.startswith((".", "_")) and not pattern.startswith(name[0])
