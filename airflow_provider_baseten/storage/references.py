"""Reference to an output in a file: a signed object that goes to XCom in place of the output.

A model can return any object, even one that looks like a reference. If tasks trusted this object, the model could
choose which file a task opens. So an object counts as a reference only if it was signed with a key of the result store.
Models do not get the key, because it is only in the store and in the processes that read the store.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Any, Literal, TypedDict, TypeGuard

StoredFormat = Literal["json", "text", "msgpack", "bytes"]

KEY_BYTES = 32

_MAX_BYTES = 1 << 63

_TYPES: dict[str, tuple[type, ...]] = {
    "uri": (str,),
    "bytes": (int,),
    "request_id": (str, type(None)),
    "format": (str,),
    "baseten_conn_id": (str,),
}


class UnsignedReference(TypedDict):
    """The fields of a reference that its signature covers.

    :param uri: URI of the file.
    :param bytes: size of the file in bytes.
    :param request_id: Baseten's id of the request that made the output.
    :param format: format of the file: ``json``, ``text``, ``msgpack`` or ``bytes``.
    :param baseten_conn_id: id of the Airflow connection. Its result store contains the signing key.
    """

    uri: str
    bytes: int
    request_id: str | None
    format: StoredFormat
    baseten_conn_id: str


class OutputReference(UnsignedReference):
    """The XCom of an output that was written to a file.

    :param signature: HMAC-SHA256 of the other fields.
    """

    signature: str


def new_key() -> bytes:
    """Return a random key."""
    return secrets.token_bytes(KEY_BYTES)


def signed(reference: UnsignedReference, key: bytes) -> OutputReference:
    """Return the reference with its signature."""
    return {**reference, "signature": _signature(dict(reference), key)}


def has_form_of_reference(value: Any) -> TypeGuard[OutputReference]:
    """Return whether a value has the fields of a reference.

    The signature is not checked. So the value may also be an output of a model that only looks like a reference.
    """
    return isinstance(value, dict) and value.keys() == OutputReference.__annotations__.keys()


def is_genuine(reference: OutputReference, keys: Iterable[bytes]) -> bool:
    """Return whether a reference was signed with one of these keys."""
    fields: dict[str, Any] = dict(reference)
    signature = fields.pop("signature")
    if not all(type(fields[name]) in types for name, types in _TYPES.items()) or not isinstance(signature, str):
        return False
    if not 0 <= fields["bytes"] < _MAX_BYTES:  # Python refuses to format an integer with thousands of digits.
        return False
    signature = signature.encode(errors="replace")
    return any(hmac.compare_digest(_signature(fields, key).encode(), signature) for key in keys)


def _signature(fields: dict[str, Any], key: bytes) -> str:
    text = json.dumps(["baseten output reference", sorted(fields.items())])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
