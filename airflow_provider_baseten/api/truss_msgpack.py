"""Truss's binary format: msgpack with numpy arrays, dates, decimals and UUIDs.

https://docs.baseten.co/inference/calling-your-model
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from types import ModuleType
from typing import Any, cast
from uuid import UUID

from airflow_provider_baseten.api import truss_arrays
from airflow_provider_baseten.exceptions import BasetenInputError

# msgpack allows 1,024 levels, but Python code that walks through more than 256 may exceed the recursion limit.
_MAX_LEVELS = 256
_MSGPACK_LEVELS = 1024

# Upper bound for a complex number as text. The ``repr`` of a complex number is always shorter.
_MAX_COMPLEX_CHARACTERS = 100

# First bytes of msgpack's own timestamps, of 32, 64 and 96 bits.
_TIMESTAMP_HEADS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")


class RefusedError(ValueError):
    """The body is msgpack, but a part of it is not accepted."""


def pack(value: Any) -> bytes:
    """Encode a value for a Truss model.

    :raises BasetenInputError: a part of the value can't be encoded, or the extra ``msgpack`` is not installed.
    """
    msgpack = _library()
    try:
        return bytes(msgpack.packb(value, default=_encode))
    except (TypeError, ValueError, OverflowError, RecursionError, BufferError) as error:
        raise BasetenInputError(f"The model input can't be packed as msgpack: {error}.") from None


def unpack(body: bytes) -> Any:
    """Decode the output of a Truss model.

    Arrays are read-only views of the body. msgpack's own timestamps become ``datetime`` in UTC.

    :raises RefusedError: the body is msgpack, but is nested too deeply, has an extension type, or holds an array, date,
        number or UUID that is not valid.
    :raises ValueError: the body is not msgpack.
    :raises BasetenInputError: the extra ``msgpack`` is not installed.
    """
    msgpack = _library()
    _check_form(msgpack, body)
    arrays = truss_arrays.ArrayReader(len(body))
    try:
        value = msgpack.unpackb(
            body, strict_map_key=False, object_hook=lambda obj: _decode(obj, arrays), ext_hook=_refuse_extension
        )
        has_timestamps = any(head in body for head in _TIMESTAMP_HEADS)
        return _with_datetimes(value, msgpack.Timestamp) if has_timestamps else value
    except (ValueError, TypeError, ArithmeticError) as error:
        raise RefusedError(str(error)) from None


def _check_form(msgpack: ModuleType, body: bytes) -> None:
    """Refuse a body that is not one complete value.

    Without this check, a short body that declares a huge size could make the decoder reserve that much memory.
    """
    if _is_one_value(msgpack, body, levels=_MAX_LEVELS):
        return
    if _is_one_value(msgpack, body, levels=_MSGPACK_LEVELS):
        raise RefusedError(f"nested more than {_MAX_LEVELS} levels deep")
    raise ValueError("not one whole msgpack value")


def _is_one_value(msgpack: ModuleType, body: bytes, *, levels: int) -> bool:
    lists_around = b"\x91" * (_MSGPACK_LEVELS - levels)
    unpacker = msgpack.Unpacker(max_buffer_size=len(lists_around) + len(body) or 1)
    unpacker.feed(lists_around)
    unpacker.feed(body)
    try:
        unpacker.skip()
    except (msgpack.UnpackException, ValueError, RecursionError):
        return False
    return bool(unpacker.tell() == len(lists_around) + len(body))


def _encode(obj: Any) -> Any:
    match obj:
        case datetime() | date() | time():
            return _encode_time(obj)
        case timedelta():
            parts = (obj.days, obj.seconds, obj.microseconds)
            if timedelta(*parts) != obj:
                raise TypeError("a duration with nanoseconds has no msgpack form")
            return {b"__dt_timedelta__": True, b"data": parts}
        case Decimal():
            return {b"__decimal__": True, b"data": str(obj)}
        case UUID():
            return {b"__uuid__": True, b"data": str(obj)}
    encoded = truss_arrays.encode_array(obj)
    if encoded is not None:
        return encoded
    if isinstance(obj, complex):
        return {b"complex": True, b"data": repr(obj)}
    raise TypeError(f"a value of type {type(obj).__name__:.100} has no msgpack form")


def _encode_time(obj: date | time) -> dict[bytes, Any]:
    if isinstance(obj, time) and obj.tzinfo is not None:
        raise TypeError("a time of day with a time zone has no msgpack form")
    kind, tag = next(pair for pair in _TIMES.items() if isinstance(obj, pair[0]))
    text = obj.isoformat()
    # Some values can't be restored from their text: for example, the nanoseconds of a pandas time would be lost.
    if not _reads_back(kind, text):
        raise TypeError(f"a {type(obj).__name__:.100} with nanoseconds or without a value has no msgpack form")
    return {tag: True, b"data": f"{text[:-6]}Z" if text.endswith("+00:00") else text}


def _reads_back(kind: type[datetime] | type[date] | type[time], text: str) -> bool:
    try:
        return kind.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# The first type that matches is used. A ``datetime`` is a ``date`` too, so ``datetime`` comes first.
_TIMES: dict[type[datetime] | type[date] | type[time], bytes] = {
    datetime: b"__dt_datetime_iso__",
    date: b"__dt_date_iso__",
    time: b"__dt_time_iso__",
}


def _decode(obj: dict[Any, Any], arrays: truss_arrays.ArrayReader) -> Any:
    if b"data" not in obj:
        return obj
    for tag, read in _READERS.items():
        if tag in obj:
            return _tagged(tag, read, obj[b"data"])
    if b"nd" not in obj or b"type" not in obj:
        return obj
    if obj[b"nd"] is not True:
        return arrays.scalar(obj)
    return arrays.array(obj) if b"shape" in obj else obj


def _tagged(tag: bytes, read: Callable[[Any], Any], data: Any) -> Any:
    try:
        return read(data)
    except (ValueError, TypeError, ArithmeticError):
        raise ValueError(f"a value tagged {tag.decode()} is not valid") from None


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise TypeError("a date, decimal or UUID is not given as text")
    return data


def _timedelta(data: Any) -> timedelta:
    days, seconds, microseconds = data
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _complex(data: Any) -> complex:
    if len(text := _text(data)) > _MAX_COMPLEX_CHARACTERS:
        raise ValueError("a complex number is too long")
    return complex(text)


_READERS: dict[bytes, Callable[[Any], Any]] = {
    b"__dt_datetime_iso__": lambda data: datetime.fromisoformat(_text(data)),
    b"__dt_date_iso__": lambda data: date.fromisoformat(_text(data)),
    b"__dt_time_iso__": lambda data: time.fromisoformat(_text(data)),
    b"__dt_timedelta__": _timedelta,
    b"__decimal__": lambda data: Decimal(_text(data)),
    b"__uuid__": lambda data: UUID(_text(data)),
    b"complex": _complex,
}


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"an extension type ({code}) is not accepted")


def _with_datetimes(value: Any, timestamp: type[Any]) -> Any:
    """Replace msgpack's own timestamps by ``datetime``."""
    match value:
        case timestamp():
            if value.nanoseconds % 1000:
                raise ValueError("a timestamp has nanoseconds, which a datetime can't hold")
            return value.to_datetime()
        case dict():
            return {_with_datetimes(k, timestamp): _with_datetimes(item, timestamp) for k, item in value.items()}
        case list():
            return [_with_datetimes(item, timestamp) for item in value]
    return value


@cache
def _library() -> ModuleType:
    try:
        import msgpack
        import numpy  # noqa: F401 - checks that it is installed: outputs may hold arrays.
    except ImportError:
        raise BasetenInputError(
            "content_type='application/octet-stream' needs msgpack: install 'airflow-provider-baseten[msgpack]'."
        ) from None
    return cast("ModuleType", msgpack)
