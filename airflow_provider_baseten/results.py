"""Where outputs land and are read back."""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import uuid4

from airflow_provider_baseten.api import msgpack
from airflow_provider_baseten.api.async_requests import Delivery
from airflow_provider_baseten.exceptions import BasetenInputError, BasetenResultLostError, BasetenResultStoreError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_baseten.api.responses import Response

XCOM_MAX_BYTES = 262_144

# Above this one listing of an object store is cheaper than asking for each name.
_MOST_LOOKUPS = 32

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class OutputReference(TypedDict):
    """What goes to XCom in place of an output that landed elsewhere.

    :param uri: where the output is.
    :param bytes: its size.
    :param request_id: Baseten's id of the request that made it.
    """

    uri: str
    bytes: int
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Output:
    """A value, and the bytes in which it is stored.

    :param value: what goes to XCom if it is small enough.
    :param body: what is written if it lands.
    :param suffix: tells :func:`read_output` how to read the bytes: ``.json``, ``.txt``, ``.msgpack`` or ``.bin``.
    """

    value: Any
    body: bytes
    suffix: str

    @classmethod
    def of_response(cls, response: "Response", value: Any) -> "Output":
        """Keep the bytes that the server sent."""
        if response.is_msgpack and not isinstance(value, bytes):
            return cls(_plain(value), response.body, ".msgpack")
        if response.is_json or not response.body:
            return cls(value, response.body or b"null", ".json")
        return cls(value, response.body, ".txt" if isinstance(value, str) else ".bin")

    @classmethod
    def of_value(cls, value: Any) -> "Output":
        """Encode a value that a callable of the DAG author made.

        :raises BasetenInputError: it is not bytes, text or JSON.
        """
        match value:
            case bytes():
                return cls(value, value, ".bin")
            case str():
                return cls(value, value.encode(), ".txt")
        try:
            return cls(value, json.dumps(value).encode(), ".json")
        except (TypeError, ValueError):
            raise BasetenInputError(
                f"response_filter returned a {type(value).__name__} that is neither bytes nor text nor JSON."
            ) from None

    def fits_xcom(self, max_bytes: int) -> bool:
        """Tell whether the value can and should go to XCom itself."""
        if self.suffix != ".msgpack":
            return self.suffix != ".bin" and len(self.body) <= max_bytes
        try:
            return len(json.dumps(self.value, default=_as_text)) <= max_bytes
        except (TypeError, ValueError):
            return False


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

    def write(self, name: str, body: bytes) -> None:
        """Write the file of that name whole.

        :raises BasetenResultStoreError: it could not be written.
        """
        write(f"{self.uri}/{name}", body)

    def remove(self, name: str) -> None:
        """Delete the file of that name if there is one.

        :raises BasetenResultStoreError: it could not be deleted.
        """
        try:
            _path(f"{self.uri}/{name}").unlink(missing_ok=True)
        except Exception as error:
            raise BasetenResultStoreError(f"{name} could not be deleted from {self.uri} ({_reason(error)}).") from error

    def delivered(self, request_ids: Collection[str]) -> set[str]:
        """Return those of the requests whose result is there. Blocks; a trigger calls it in a thread.

        :raises BasetenResultStoreError: the store can't be read.
        """
        try:
            folder = _path(self.uri)
            if folder.protocol == "file":
                # With ten thousand waiting tasks a Path for each name costs three times as much.
                return {name for name in request_ids if os.path.exists(f"{folder.path}/{_delivery_name(name)}")}  # noqa: PTH110
            if len(request_ids) <= _MOST_LOOKUPS:
                return {name for name in request_ids if (folder / _delivery_name(name)).exists()}
            return set(request_ids) & {path.name.removesuffix(".json") for path in folder.iterdir()}
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
) -> Any:
    """Return what an operator returns: the value if it is small, otherwise a reference to where it landed.

    :param output_path: URI of the file to write in any case; with a trailing slash, of the folder to write it to.
    :param result_store: URI of the folder for an output that is too large for XCom, by default ``[baseten]
        result_store``.
    :raises BasetenResultStoreError: it could not be written.
    """
    name = request_id if request_id and _FILE_NAME.fullmatch(request_id) else uuid4().hex
    if output_path:
        uri = f"{output_path}{name}{output.suffix}" if output_path.endswith("/") else output_path
    elif output.fits_xcom(_xcom_max_bytes()):
        return output.value
    else:
        uri = f"{(result_store or default_store()).rstrip('/')}/outputs/{name}{output.suffix}"
    write(uri, output.body)
    return OutputReference(uri=uri, bytes=len(output.body), request_id=request_id)


def stored_output(uri: str, request_id: str) -> Any:
    """Return what an operator returns for an output that the model stored itself: the value if it is small JSON or
    text.

    :raises BasetenResultLostError: there is nothing.
    :raises BasetenResultStoreError: it could not be read.
    """
    try:
        size = _path(uri).stat().st_size
    except FileNotFoundError:
        raise BasetenResultLostError(
            f"Async request {request_id} succeeded, but the model left nothing at {uri}: check result_path.",
            request_id=request_id,
            may_have_run=True,
        ) from None
    except Exception as error:
        raise BasetenResultStoreError(f"The output at {uri} could not be found ({_reason(error)}).") from error
    reference = OutputReference(uri=uri, bytes=size, request_id=request_id)
    if size > _xcom_max_bytes() or PurePosixPath(uri).suffix not in {".json", ".txt"}:
        return reference
    return read_output(reference)


def read_output(value: Any) -> Any:
    """Return the output behind a reference; anything else is returned as it came.

    :raises BasetenResultStoreError: the output could not be read.
    """
    if not isinstance(value, dict) or value.keys() != OutputReference.__annotations__.keys():
        return value
    uri = value["uri"]
    try:
        body = _path(uri).read_bytes()
    except Exception as error:
        raise BasetenResultStoreError(
            f"The output of request {value['request_id']} could not be read from {uri} ({_reason(error)})."
        ) from error
    match PurePosixPath(uri).suffix:
        case ".json":
            return json.loads(body)
        case ".txt":
            return body.decode()
        case ".msgpack":
            return msgpack.unpack(body)
    return body


def write(uri: str, body: bytes) -> None:
    """Write a file whole: a reader sees all of it or nothing.

    :raises BasetenResultStoreError: it could not be written; the message names the URI.
    """
    try:
        path = _path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.protocol != "file":  # An object store shows an object when its upload is complete.
            path.write_bytes(body)
            return
        part = path.parent / f".{path.name}.{uuid4().hex}.part"
        try:
            part.write_bytes(body)
            Path(part.path).replace(path.path)
        finally:
            part.unlink(missing_ok=True)
    except Exception as error:
        raise BasetenResultStoreError(
            f"An output of {len(body):,} bytes could not be written to {uri} ({_reason(error)}). The request was "
            "answered, and this attempt's output is lost: check the path and its connection."
        ) from error


def check_writable(output_path: str) -> None:
    """Find out before anything is sent whether an output could land.

    :raises BasetenResultStoreError: the scheme, the connection or the folder is not usable.
    """
    try:
        path = _path(output_path)
        folder = path if output_path.endswith("/") else path.parent
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder.path, os.W_OK) if path.protocol == "file" else True
        occupied = path.is_dir() and folder != path
    except Exception as error:
        raise BasetenResultStoreError(
            f"output_path {output_path} is not usable ({_reason(error)}); nothing was sent."
        ) from error
    if not usable or occupied:
        trouble = "is a folder: end it with '/' to write into it" if occupied else "is in a read-only folder"
        raise BasetenResultStoreError(f"output_path {output_path} {trouble}; nothing was sent.")


def default_store() -> str:
    """Return ``[baseten] result_store``, by default a folder below ``AIRFLOW_HOME``."""
    from airflow.providers.common.compat.sdk import conf

    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()
    return conf.get("baseten", "result_store", fallback=None) or f"file://{home}/baseten/results"


def _xcom_max_bytes() -> int:
    from airflow.providers.common.compat.sdk import conf

    return int(conf.get("baseten", "xcom_max_bytes", fallback=None) or XCOM_MAX_BYTES)


def _path(uri: str) -> "ObjectStoragePath":
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _delivery_name(request_id: str) -> str:
    if not _FILE_NAME.fullmatch(request_id):
        raise BasetenResultStoreError(f"{request_id!r:.80} is not a request id, so nothing is stored under it.")
    return f"{request_id}.json"


def _plain(value: Any) -> Any:
    """Replace numpy arrays and scalars, which XCom does not take, by lists and numbers."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes have no JSON form")
    return str(value)
