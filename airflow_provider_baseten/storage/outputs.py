"""Outputs of tasks: passed through XCom, or written to a file and passed by reference."""

import re
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar
from uuid import uuid4

from airflow_provider_baseten import compat
from airflow_provider_baseten.api.responses import Response, refuse_empty, refuse_page
from airflow_provider_baseten.exceptions import BasetenResultLostError, BasetenResultStoreError
from airflow_provider_baseten.storage import encoding, files, references
from airflow_provider_baseten.storage.encoding import Output
from airflow_provider_baseten.storage.references import OutputReference, StoredFormat, UnsignedReference
from airflow_provider_baseten.storage.result_store import FILE_NAME, ResultStore
from airflow_provider_baseten.storage.xcom import xcom_safe

XCOM_MAX_BYTES = 262_144

# For so long the write of an output is retried, for the output is paid.
_WRITE_RETRY_SECONDS = 60.0

# What Airflow accepts as the id of a connection.
_CONN_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")

T = TypeVar("T")


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
            files.write(uri, output.body)
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
    return request_id if request_id and FILE_NAME.fullmatch(request_id) else uuid4().hex


def stored_output(uri: str, request_id: str, *, result_store: str | None, baseten_conn_id: str) -> Any:
    """Return what an operator returns for an output that the model stored itself: the value if it is small JSON or
    text that Airflow can hold.

    :param uri: of the file; its suffix says how it is read.
    :param result_store: URI of the result store, by default ``[baseten] result_store``.
    :param baseten_conn_id: id of the connection that has this result store.
    :raises BasetenResultLostError: there is nothing.
    :raises BasetenResultStoreError: it could not be read, or is not what its suffix says.
    """
    size = files.size_of(uri)
    if size is None:
        raise BasetenResultLostError(
            f"Async request {request_id} succeeded, but the model stored nothing at {uri}: check result_path.",
            request_id=request_id,
            may_have_run=True,
        )
    stored_format = encoding.format_of(PurePosixPath(uri).suffix)
    if size <= _xcom_max_bytes() and stored_format in {"json", "text"}:
        value = _read(uri, stored_format, request_id)
        if xcom_holds(Output(value, b"", stored_format)):
            return value
    reference: UnsignedReference = {
        "uri": uri,
        "bytes": size,
        "request_id": request_id,
        "format": stored_format,
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


def _xcom_max_bytes() -> int:
    from airflow_provider_baseten.compat import conf

    return int(conf.get("baseten", "xcom_max_bytes", fallback=None) or XCOM_MAX_BYTES)


def _signed(reference: UnsignedReference, store: ResultStore) -> OutputReference:
    return references.signed(reference, store.signing_keys(create=True)[0])


def _read(uri: str, stored_format: StoredFormat, request_id: str | None, size: int | None = None) -> Any:
    subject = f"The output of request {request_id}"
    try:
        body = files.read(uri)
    except BasetenResultStoreError as error:
        raise BasetenResultStoreError(f"{subject} is not available: {error}", request_id=request_id) from error
    if body is None:
        raise BasetenResultStoreError(f"{subject} is not available: {uri} does not exist.", request_id=request_id)
    if size is not None and len(body) != size:
        raise BasetenResultStoreError(
            f"{subject} had {size:,} bytes, but {uri} has {len(body):,}: the file was cut off or written again.",
            request_id=request_id,
        )
    try:
        return encoding.read(body, stored_format)
    except ValueError as error:
        raise BasetenResultStoreError(
            f"{subject} in {uri} ({len(body):,} bytes) is not {stored_format} ({type(error).__name__}).",
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
        stop=tenacity.stop_after_delay(_WRITE_RETRY_SECONDS),
        sleep=time.sleep,
        reraise=True,
    )(work)
