"""Outputs of tasks: in XCom, or in a file with a reference to it in XCom."""

import re
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from airflow_provider_baseten import compat, config
from airflow_provider_baseten.api.responses import Response, refuse_empty, refuse_page
from airflow_provider_baseten.exceptions import BasetenResultLostError, BasetenResultStoreError
from airflow_provider_baseten.hook_lineage import report_input
from airflow_provider_baseten.storage import encoding, files, references
from airflow_provider_baseten.storage.encoding import Output
from airflow_provider_baseten.storage.references import OutputReference, StoredFormat, UnsignedReference
from airflow_provider_baseten.storage.result_store import FILE_NAME, ResultStore
from airflow_provider_baseten.storage.write_retries import persist
from airflow_provider_baseten.storage.xcom import xcom_safe

# Ids that Airflow accepts for a connection.
_CONN_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")


def save_output(
    output: Output,
    request_id: str | None,
    *,
    output_path: str | None,
    result_store: str | None,
    baseten_conn_id: str,
) -> Any:
    """Return what goes to XCom for an output: its value, or a reference to a file that this function writes.

    The value goes to XCom if it is small, comes back from Airflow unchanged, and there is no ``output_path``. If the
    file can't be written, the write is retried for a minute, because the output was paid for.

    :param request_id: Baseten's id of the request.
    :param output_path: URI of the file; with a trailing slash, URI of its folder.
    :param result_store: URI of the result store, by default ``[baseten] result_store``. Without an ``output_path``, the
        file is in this store.
    :param baseten_conn_id: id of the Airflow connection that ``result_store`` comes from.
    :raises BasetenResultStoreError: the file could not be written. The message names the request.
    """
    if not output_path and xcom_holds(output):
        return output.value
    name = file_name(request_id) + output.suffix
    store = ResultStore(result_store)

    def written() -> OutputReference:
        if not output_path:
            uri = store.uri_of(f"outputs/{name}")
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
        return persist(written)
    except BasetenResultStoreError as error:
        subject = f"Request {request_id} got a response" if request_id else "The model has responded"
        raise BasetenResultStoreError(
            f"{subject}, but its output could not be stored: {error}",
            request_id=request_id,
            may_have_run=True,
        ) from error


def stored_uris(returned: Any) -> tuple[str, ...]:
    """Return the URIs of the files behind what a task returns: one for a reference, none for a value in XCom."""
    return (returned["uri"],) if references.has_form_of_reference(returned) else ()


def xcom_holds(output: Output) -> bool:
    """Return whether an output goes to XCom itself, because it is small and Airflow returns it unchanged.

    An output that looks like a reference goes to a file, because in XCom it would be taken for a real reference.
    """
    return not references.has_form_of_reference(output.value) and output.fits_xcom(
        config.XCOM_MAX_BYTES.get(), long_integers=not compat.xcoms_are_msgpack()
    )


def output_of(response: "Response") -> Output:
    """Return the output in a response.

    If the body is in a temporary file and too large for XCom, the output has no decoded value.

    :raises BasetenResponseError: the body does not match the Content-Type.
    """
    if response.large is not None and response.size > config.XCOM_MAX_BYTES.get():
        return Output.of_large(response, response.large)
    return Output.of_response(response, response.output())


def predict_output_of(response: "Response") -> Output:
    """Return the output in the response to a predict request.

    :raises BasetenResponseError: the body is an HTML page or empty, or does not match the Content-Type.
    """
    refuse_page(response)
    refuse_empty(response)
    return output_of(response)


def is_xcom_safe(value: Any) -> bool:
    """Return whether a value that is pushed to XCom comes back unchanged."""
    return xcom_safe(value, long_integers=not compat.xcoms_are_msgpack())


def save_response(response: "Response", result_store: str | None) -> str:
    """Save the body of an unusable response, because the response was paid for.

    Return a sentence for the error message: it names the file, or says why the body could not be saved. For an empty
    body, save nothing and return an empty string.
    """
    if not response.size:
        return ""
    suffix = ".json" if response.is_json else ".txt" if response.media_type.startswith("text/") else ".bin"
    store, name = ResultStore(result_store), f"responses/{file_name(response.request_id)}{suffix}"
    try:
        persist(lambda: store.write(name, response.large or response.body))
    except BasetenResultStoreError as error:
        return f"The response could not be saved: {error}"
    return f"The unchanged response is saved in {store.uri}/{name}."


def file_name(request_id: str | None) -> str:
    """Return the name, without suffix, of the file for a request's output.

    The name is the request id. If there is no id, or the id can't be a file name, the name is random.
    """
    return request_id if request_id and FILE_NAME.fullmatch(request_id) else uuid4().hex


def stored_output(uri: str, request_id: str, *, result_store: str | None, baseten_conn_id: str) -> Any:
    """Return what goes to XCom for an output that the model stored itself: its value, or a reference to its file.

    The value goes to XCom if it is small JSON or text that Airflow returns unchanged.

    :param uri: URI of the file. The suffix names the format.
    :param result_store: URI of the result store, by default ``[baseten] result_store``.
    :param baseten_conn_id: id of the Airflow connection that ``result_store`` comes from.
    :raises BasetenResultLostError: there is no such file.
    :raises BasetenResultStoreError: the file could not be read, or does not have the format of its suffix.
    """
    size = files.size_of(uri)
    if size is None:
        raise BasetenResultLostError(
            f"Async request {request_id} succeeded, but the model stored nothing at {uri}: check result_path.",
            request_id=request_id,
            may_have_run=True,
        )
    stored_format = encoding.stored_format_of(PurePosixPath(uri).suffix)
    if size <= config.XCOM_MAX_BYTES.get() and stored_format in {"json", "text"}:
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
    return persist(lambda: _signed(reference, ResultStore(result_store)))


def read_output(value: Any) -> Any:
    """Return the output behind a reference; any other value is returned unchanged.

    The file is opened only if the reference was signed with a key of the result store. Without the signature, a model
    could return an object that looks like a reference, and so choose which file the task opens. Models do not have the
    key.

    :raises BasetenResultStoreError: the signature is not valid, or the output could not be read.
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
    if (local := files.local_path(value["uri"])) is not None:  # Airflow itself reports files of other storages.
        report_input(read_output, f"file://{local.absolute()}")
    return _read(value["uri"], value["format"], value["request_id"], value["bytes"])


def _signed(reference: UnsignedReference, store: ResultStore) -> OutputReference:
    return references.signed(reference, store.signing_keys(create=True)[0])


def _read(uri: str, stored_format: StoredFormat, request_id: str | None, size: int | None = None) -> Any:
    subject = f"The output of request {request_id}" if request_id else "The output of an earlier task"
    try:
        body = files.read(uri)
    except BasetenResultStoreError as error:
        raise BasetenResultStoreError(f"{subject} is not available: {error}", request_id=request_id) from error
    if body is None:
        raise BasetenResultStoreError(
            f"{subject} is not available: {uri} does not exist. Either it was deleted, or this worker does not see the "
            "same folder as the worker that wrote it: with several machines name shared storage. To make the output "
            "again, clear the task that made it.",
            request_id=request_id,
        )
    if size is not None and len(body) != size:
        raise BasetenResultStoreError(
            f"{subject} had {size:,} bytes, but {uri} has {len(body):,}: the file was cut off or overwritten. To make "
            "the output again, clear the task that made it.",
            request_id=request_id,
        )
    try:
        return encoding.decode_output(body, stored_format)
    except ValueError as error:
        raise BasetenResultStoreError(
            f"{subject} in {uri} ({len(body):,} bytes) is not {stored_format} ({type(error).__name__}). "
            f"Check what wrote the file; to make the output again, clear the task that made it.",
            request_id=request_id,
        ) from None


def _result_store_of(conn_id: str) -> str | None:
    """Return the result store that a connection names, ``None`` if it names none or the connection does not exist."""
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
