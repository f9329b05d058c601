"""Where outputs are written and read back."""

import os
import re
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from airflow_provider_baseten import compat, file_rights, outputs, references
from airflow_provider_baseten.api.async_requests import Delivery
from airflow_provider_baseten.api.responses import Response, refuse_empty, refuse_page
from airflow_provider_baseten.exceptions import BasetenResultLostError, BasetenResultStoreError
from airflow_provider_baseten.large_body import LargeBody
from airflow_provider_baseten.outputs import Output
from airflow_provider_baseten.references import OutputFormat, OutputReference, UnsignedReference
from airflow_provider_baseten.xcom import xcom_safe

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

__all__ = [
    "Output",
    "OutputReference",
    "ResultStore",
    "check_writable",
    "default_store",
    "deliver",
    "is_xcom_safe",
    "output_of",
    "predicted",
    "read_output",
    "save_answer",
    "stored_output",
    "write",
    "xcom_holds",
]

XCOM_MAX_BYTES = 262_144

# Above this one listing of an object store is cheaper than asking for each name.
_MOST_LOOKUPS = 32

# Seconds for which an output that was paid is held while it can't be written.
_PERSISTENCE = 60.0

_PIECE_BYTES = 1 << 20

# Folder of the store with the keys of references.
_KEYS = "keys"

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
# What Airflow takes as the id of a connection.
_CONN_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")

T = TypeVar("T")


class ResultStore:
    """The folder where webhook deliveries land, one file for each async request.

    The receiver writes them and workers and triggers read them, so all of these must see the same folder.

    :param uri: URI of the folder, by default ``[baseten] result_store``.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = (uri or default_store()).rstrip("/")

    def save(self, request_id: str, body: bytes) -> None:
        """Keep the body of a delivery; a second one of the same request changes nothing.

        :raises BasetenResultStoreError: it could not be written.
        """
        if not self.delivered([request_id]):
            self.write(_delivery_name(request_id), body)

    def load(self, request_id: str) -> Delivery | None:
        """Return what was delivered for a request, ``None`` if nothing was.

        :raises BasetenResultStoreError: it could not be read.
        """
        body = self.read(_delivery_name(request_id))
        try:
            return None if body is None else Delivery.parse(body)
        except ValueError as error:
            raise BasetenResultStoreError(
                f"The result of async request {request_id} in {self.uri} is damaged ({error})."
            ) from None

    def read(self, name: str) -> bytes | None:
        """Return the file of that name, ``None`` if there is none.

        :raises BasetenResultStoreError: it could not be read.
        """
        try:
            return _path(f"{self.uri}/{name}").read_bytes()
        except FileNotFoundError:
            return None
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be read from {self.uri} ({_reason(error)}).") from error

    def read_large(self, name: str) -> LargeBody:
        """Return the file of that name without holding it in memory.

        :raises BasetenResultStoreError: it is not there or could not be read.
        """
        body = LargeBody()
        try:
            path = _path(f"{self.uri}/{name}")
            with path.fs.open(path.path, "rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    body.append(piece)
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be read from {self.uri} ({_reason(error)}).") from error
        return body

    def write(self, name: str, body: bytes | LargeBody) -> None:
        """Write the file of that name whole.

        :raises BasetenResultStoreError: it could not be written.
        """
        write(f"{self.uri}/{name}", body, store=self.uri)

    def signing_keys(self, *, create: bool = False) -> list[bytes]:
        """Return the keys that references to outputs are signed with: any of them may sign.

        There is one, or, where several workers needed the first one at the same moment, one of each.

        :param create: make one if there is none.
        :raises BasetenResultStoreError: they can't be read, or the new one can't be written.
        """
        keys = [key for name in self._names(_KEYS) if (key := self.read(f"{_KEYS}/{name}")) is not None]
        for key in keys:
            if len(key) != references.KEY_BYTES:
                raise BasetenResultStoreError(f"A key in {self.uri}/{_KEYS} is damaged: delete it.")
        if not keys and create:
            keys = [references.new_key()]
            self.write(f"{_KEYS}/{uuid4().hex}", keys[0])
        return keys

    def _names(self, folder: str) -> list[str]:
        try:
            path = _path(f"{self.uri}/{folder}")
            names = _listed(path)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise BasetenResultStoreError(f"{self.uri}/{folder} can't be read ({_reason(error)}).") from error
        return sorted(name for name in names if _FILE_NAME.fullmatch(name))

    def create(self, name: str, body: bytes) -> bool:
        """Write the file of that name if there is none; return whether it was written.

        A storage that can't create a file only if there is none is looked into first, which two may do at once.

        :raises BasetenResultStoreError: it could not be written.
        """
        try:
            path = _path(f"{self.uri}/{name}")
            if not _is_local(path):
                return _create_remote(path, body)
            target = Path(path.path)
            _make_folder(target.parent, self.uri)
            try:
                with file_rights.create(target) as file:
                    file.write(body)
            except FileExistsError:
                return False
            return True
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be written to {self.uri} ({_reason(error)}).") from error

    def remove(self, name: str) -> None:
        """Delete the file of that name if there is one.

        :raises BasetenResultStoreError: it could not be deleted.
        """
        try:
            path = _path(f"{self.uri}/{name}")
            path.fs.rm_file(path.path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be deleted from {self.uri} ({_reason(error)}).") from error

    def delivered(self, request_ids: Collection[str]) -> set[str]:
        """Return those of the requests whose result is there. Blocks; a trigger calls it in a thread.

        :raises BasetenResultStoreError: the store can't be read.
        """
        try:
            folder = _path(self.uri)
            if _is_local(folder):
                # With ten thousand waiting tasks a Path for each name costs three times as much.
                return {name for name in request_ids if _exists_locally(f"{folder.path}/{_delivery_name(name)}")}
            if len(request_ids) > _MOST_LOOKUPS:
                return set(request_ids) & {name.removesuffix(".json") for name in _listed(folder)}
            folder.fs.invalidate_cache(folder.path)
            return {name for name in request_ids if _exists(folder / _delivery_name(name))}
        except BasetenResultStoreError:
            raise
        except FileNotFoundError:
            return set()
        except Exception as error:
            raise BasetenResultStoreError(f"The result store {self.uri} can't be read ({_reason(error)}).") from error


def deliver(
    output: Output,
    request_id: str | None,
    *,
    output_path: str | None,
    result_store: str | None,
    baseten_conn_id: str,
) -> Any:
    """Return what an operator returns: the value if it is small and Airflow can hold it, otherwise a reference to the
    file where it is.

    A file that can't be written is tried again for a minute: the output was paid.

    :param output_path: URI of the file to write in any case; with a trailing slash, of the folder to write it to.
    :param result_store: URI of the folder for an output that does not go to XCom, by default ``[baseten]
        result_store``.
    :param baseten_conn_id: id of the connection that has this result store.
    :raises BasetenResultStoreError: it could not be written; the message names the request.
    """
    if not output_path and xcom_holds(output):
        return output.value
    name = file_name(request_id) + output.suffix
    store = ResultStore(result_store)

    def written() -> OutputReference:
        if not output_path:
            uri = f"{store.uri}/outputs/{name}"
            store.write(f"outputs/{name}", output.body)
        else:
            uri = f"{output_path}{name}" if output_path.endswith("/") else output_path
            write(uri, output.body)
        return _signed(
            {
                "uri": uri,
                "bytes": output.size,
                "request_id": request_id,
                "format": output.format,
                "baseten_conn_id": baseten_conn_id,
            },
            store,
        )

    try:
        return _persistently(written)
    except BasetenResultStoreError as error:
        raise BasetenResultStoreError(
            f"Request {request_id or 'without an id'} was answered, but its output could not be kept: {error}",
            request_id=request_id,
            may_have_run=True,
        ) from error


def xcom_holds(output: Output) -> bool:
    """Tell whether an output can and should go to XCom itself.

    One that looks like a reference does not: nobody could tell later that a model made it up.
    """
    return not references.has_form_of_reference(output.value) and output.fits_xcom(
        _xcom_max_bytes(), long_integers=not compat.xcoms_are_msgpack()
    )


def output_of(response: "Response") -> Output:
    """Return the output of an answer; a large one is decoded only if it may go to XCom.

    :raises BasetenResponseError: the answer is not what it says it is.
    """
    if response.large is not None and response.size > _xcom_max_bytes():
        return Output.of_large(response, response.large)
    return Output.of_response(response, response.output())


def predicted(response: "Response") -> Output:
    """Return the output of a model's answer; a page of HTML or nothing in its place is none.

    :raises BasetenResponseError: the answer can't be used.
    """
    refuse_page(response)
    refuse_empty(response)
    return output_of(response)


def is_xcom_safe(value: Any) -> bool:
    """Tell whether an XCom that this process pushes is the value that was pushed."""
    return xcom_safe(value, long_integers=not compat.xcoms_are_msgpack())


def save_answer(response: "Response", result_store: str | None) -> str:
    """Save an answer that can't be used as it came, and return a sentence that says where; the answer was paid."""
    if not response.size:
        return ""
    suffix = ".json" if response.is_json else ".txt" if response.media_type.startswith("text/") else ".bin"
    store, name = ResultStore(result_store), f"answers/{file_name(response.request_id)}{suffix}"
    try:
        _persistently(lambda: store.write(name, response.large or response.body))
    except BasetenResultStoreError as error:
        return f"The answer could not be saved: {error}"
    return f"The answer as it came is saved in {store.uri}/{name}."


def file_name(request_id: str | None) -> str:
    """Return the name without suffix of the file for the output of a request; random if its id is no file name."""
    return request_id if request_id and _FILE_NAME.fullmatch(request_id) else uuid4().hex


def stored_output(uri: str, request_id: str, *, result_store: str | None, baseten_conn_id: str) -> Any:
    """Return what an operator returns for an output that the model stored itself: the value if it is small JSON or
    text that Airflow can hold.

    :param uri: of the file; its suffix says how it is read.
    :param result_store: URI of the result store, by default ``[baseten] result_store``.
    :param baseten_conn_id: id of the connection that has this result store.
    :raises BasetenResultLostError: there is nothing.
    :raises BasetenResultStoreError: it could not be read, or is not what its suffix says.
    """
    try:
        path = _path(uri)
        size, suffix = path.stat().st_size, PurePosixPath(path.path).suffix
    except FileNotFoundError:
        raise BasetenResultLostError(
            f"Async request {request_id} succeeded, but the model left nothing at {uri}: check result_path.",
            request_id=request_id,
            may_have_run=True,
        ) from None
    except Exception as error:
        raise BasetenResultStoreError(f"The output at {uri} could not be found ({_reason(error)}).") from error
    output_format = outputs.format_of(suffix)
    if size <= _xcom_max_bytes() and output_format in {"json", "text"}:
        value = _read(uri, output_format, request_id)
        if xcom_holds(Output(value, b"", output_format)):
            return value
    reference: UnsignedReference = {
        "uri": uri,
        "bytes": size,
        "request_id": request_id,
        "format": output_format,
        "baseten_conn_id": baseten_conn_id,
    }
    return _persistently(lambda: _signed(reference, ResultStore(result_store)))


def read_output(value: Any) -> Any:
    """Return the output behind a reference; anything else is returned as it came.

    Only a reference that was signed with the key of the result store is opened. A model can answer something that looks
    like a reference, but it can't sign it.

    :raises BasetenResultStoreError: the output could not be read, or the signature is not right; then nothing is
        opened.
    """
    if not references.has_form_of_reference(value):
        return value
    conn_id = value["baseten_conn_id"]
    store = ResultStore(_result_store_of(conn_id))
    if not references.is_genuine(value, store.signing_keys()):
        raise BasetenResultStoreError(
            f"A reference to an output does not have a signature of the result store {store.uri}, so it was not "
            "opened. Either this package did not make it, or the task that made it used another result store: with "
            "several machines name shared storage as result_store."
        )
    return _read(value["uri"], value["format"], value["request_id"], value["bytes"])


def write(uri: str, body: bytes | LargeBody, *, store: str | None = None) -> None:
    """Write a file whole: a reader sees all of it or nothing.

    :param store: URI of the store that it belongs to: folders that are made in it get its rights, others are their
        owner's alone.
    :raises BasetenResultStoreError: it could not be written; the message names the URI.
    """
    try:
        path = _path(uri)
        if not _is_local(path):  # An object store shows an object when its upload is complete.
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.fs.open(path.path, "wb") as file:
                _copy(body, file)
            return
        target = Path(path.path)
        _make_folder(target.parent, store)
        part = target.parent / f".{uuid4().hex}.part"
        try:
            with file_rights.create(part) as file:
                _copy(body, file)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except Exception as error:
        size = body.size if isinstance(body, LargeBody) else len(body)
        raise BasetenResultStoreError(f"{size:,} bytes could not be written to {uri} ({_reason(error)}).") from error


def check_writable(uri: str, name: str = "output_path") -> None:
    """Find out before anything is sent whether a file could be written.

    :param uri: of the file, or with a trailing slash of the folder.
    :param name: of the argument, for the message.
    :raises BasetenResultStoreError: the scheme, the connection or the folder is not usable.
    """
    try:
        path = _path(uri)
        folder = path if uri.endswith("/") else path.parent
        if _is_local(path):
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
        raise BasetenResultStoreError(f"{name} {uri} is not usable ({_reason(error)}); nothing was sent.") from error
    if occupied:
        raise BasetenResultStoreError(f"{name} {uri} is a folder: end it with '/' to write into it; nothing was sent.")


def default_store() -> str:
    """Return ``[baseten] result_store``, by default a folder below ``AIRFLOW_HOME``."""
    from airflow_provider_baseten.compat import conf

    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()
    return conf.get("baseten", "result_store", fallback=None) or f"file://{home}/baseten/results"


def _xcom_max_bytes() -> int:
    from airflow_provider_baseten.compat import conf

    return int(conf.get("baseten", "xcom_max_bytes", fallback=None) or XCOM_MAX_BYTES)


def _path(uri: str) -> "ObjectStoragePath":
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri)


def _make_folder(folder: Path, store: str | None) -> None:
    """Make a folder with the rights of the store that it is in, or else for its owner alone."""
    mode = file_rights.OWNER_ONLY
    if store is not None:
        root = Path(_path(store).path)
        file_rights.make_folder(root)
        mode = file_rights.mode_of(root)
    file_rights.make_folder(folder, mode)


def _create_remote(path: Any, body: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(body)
    except FileExistsError:
        return False
    except (NotImplementedError, ValueError):
        if _exists(path):
            return False
        path.write_bytes(body)
    return True


def _listed(folder: Any) -> list[str]:
    """Return the names of the files in a folder. Others write there: what was listed before is not what is there."""
    folder.fs.invalidate_cache(folder.path)
    return [PurePosixPath(found).name for found in folder.fs.ls(folder.path, detail=False)]


def _exists(path: Any) -> bool:
    """Tell whether a file is there. Most file systems of fsspec would say no where they can't tell."""
    try:
        path.fs.info(path.path)
    except FileNotFoundError:
        return False
    return True


def _exists_locally(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - much faster than a Path.
    except FileNotFoundError:
        return False
    return True


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _copy(body: bytes | LargeBody, file: IO[bytes]) -> None:
    if isinstance(body, LargeBody):
        with body.open() as source:
            shutil.copyfileobj(source, file, _PIECE_BYTES)
    else:
        file.write(body)


def _is_local(path: "ObjectStoragePath") -> bool:
    return path.protocol in {"", "file", "local"}


def _signed(reference: UnsignedReference, store: ResultStore) -> OutputReference:
    return references.signed(reference, store.signing_keys(create=True)[0])


def _read(uri: str, output_format: OutputFormat, request_id: str | None, size: int | None = None) -> Any:
    subject = f"The output of request {request_id}"
    try:
        body = _path(uri).read_bytes()
    except Exception as error:
        raise BasetenResultStoreError(
            f"{subject} could not be read from {uri} ({_reason(error)}).", request_id=request_id
        ) from error
    if size is not None and len(body) != size:
        raise BasetenResultStoreError(
            f"{subject} had {size:,} bytes, but {uri} has {len(body):,}: the file was cut off or written again.",
            request_id=request_id,
        )
    try:
        return outputs.read(body, output_format)
    except ValueError as error:
        raise BasetenResultStoreError(
            f"{subject} in {uri} ({len(body):,} bytes) is not {output_format} ({type(error).__name__}).",
            request_id=request_id,
        ) from None


def _result_store_of(conn_id: str) -> str | None:
    """Return the result store of a connection, ``None`` if it names none or does not exist."""
    from airflow_provider_baseten.compat import AirflowNotFoundException, BaseHook

    if not isinstance(conn_id, str) or not _CONN_ID.fullmatch(conn_id):
        return None
    try:
        store = BaseHook.get_connection(conn_id).extra_dejson.get("result_store")
    except AirflowNotFoundException:
        return None
    except Exception as error:
        raise BasetenResultStoreError(
            f"Connection '{conn_id}', which a reference to an output names, can't be read ({type(error).__name__})."
        ) from error
    return store if isinstance(store, str) and store else None


def _persistently(work: Callable[[], T]) -> T:
    import tenacity

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BasetenResultStoreError),
        wait=tenacity.wait_exponential(multiplier=0.5, max=5),
        stop=tenacity.stop_after_delay(_PERSISTENCE),
        sleep=time.sleep,
        reraise=True,
    )(work)


def _delivery_name(request_id: str) -> str:
    if not _FILE_NAME.fullmatch(request_id):
        raise BasetenResultStoreError(f"{request_id!r:.80} is not a request id, so nothing is stored under it.")
    return f"{request_id}.json"
