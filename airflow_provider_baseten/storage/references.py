"""Reference to an output that lies in a file: what goes to XCom in place of the output, signed.

An output may come from a model, and a model may answer whatever it likes, also something that looks like a reference.
Only what was signed with a key of the result store is one; the key never leaves the store and the processes that read
it. Pure: the caller has the keys.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Any, Literal, TypedDict, TypeGuard

StoredFormat = Literal["json", "text", "msgpack", "bytes"]

KEY_BYTES = 32

_MOST_BYTES = 1 << 63

_TYPES: dict[str, tuple[type, ...]] = {
    "uri": (str,),
    "bytes": (int,),
    "request_id": (str, type(None)),
    "format": (str,),
    "baseten_conn_id": (str,),
}


class UnsignedReference(TypedDict):
    """What a reference says.

    :param uri: where the output is.
    :param bytes: its size.
    :param request_id: Baseten's id of the request that made it.
    :param format: how its bytes are read: ``json``, ``text``, ``msgpack`` or ``bytes``.
    :param baseten_conn_id: id of the Airflow connection whose result store has the key of the signature.
    """

    uri: str
    bytes: int
    request_id: str | None
    format: StoredFormat
    baseten_conn_id: str


class OutputReference(UnsignedReference):
    """What goes to XCom in place of an output that was written to a file.

    :param signature: HMAC-SHA256 of the other fields.
    """

    signature: str


def new_key() -> bytes:
    """Return a random key."""
    return secrets.token_bytes(KEY_BYTES)


def signed(reference: UnsignedReference, key: bytes) -> OutputReference:
    """Return a reference with its signature."""
    return {**reference, "signature": _signature(dict(reference), key)}


def has_form_of_reference(value: Any) -> TypeGuard[OutputReference]:
    """Tell whether a value has the fields of a reference; whoever made it."""
    return isinstance(value, dict) and value.keys() == OutputReference.__annotations__.keys()


def is_genuine(reference: OutputReference, keys: Iterable[bytes]) -> bool:
    """Tell whether a reference was signed with one of these keys."""
    fields: dict[str, Any] = dict(reference)
    signature = fields.pop("signature")
    if not all(type(fields[name]) in types for name, types in _TYPES.items()) or not isinstance(signature, str):
        return False
    if not 0 <= fields["bytes"] < _MOST_BYTES:  # Python makes no text of a number with thousands of digits.
        return False
    signature = signature.encode(errors="replace")
    return any(hmac.compare_digest(_signature(fields, key).encode(), signature) for key in keys)


def _signature(fields: dict[str, Any], key: bytes) -> str:
    text = json.dumps(["baseten output reference", sorted(fields.items())])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
