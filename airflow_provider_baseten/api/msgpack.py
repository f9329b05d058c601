"""Truss's binary format: msgpack with numpy arrays, dates, decimals and UUIDs.

https://docs.baseten.co/inference/calling-your-model
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from types import ModuleType
from typing import Any
from uuid import UUID

from airflow_provider_baseten.exceptions import BasetenInputError


def pack(value: Any) -> bytes:
    """Encode a value for a Truss model.

    :raises BasetenInputError: a part of it has no msgpack form, or the extra ``msgpack`` is not installed.
    """
    msgpack, numpy_codec = _libraries()

    def default(obj: Any) -> Any:
        tagged = _tagged(obj)
        if tagged is not None:
            return tagged
        encoded = numpy_codec.encode(obj)
        if encoded is obj or encoded.get(b"kind") == b"O":
            raise TypeError(f"a value of type {type(obj).__name__} has no msgpack form")
        return encoded

    try:
        return bytes(msgpack.packb(value, default=default))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BasetenInputError(f"The model input can't be packed as msgpack: {error}.") from None


def unpack(body: bytes) -> Any:
    """Decode what a Truss model answered.

    :raises ValueError: not msgpack, or an object array, which would have to be unpickled.
    :raises BasetenInputError: the extra ``msgpack`` is not installed.
    """
    msgpack, numpy_codec = _libraries()

    def object_hook(obj: dict[Any, Any]) -> Any:
        # Object arrays travel as pickles; unpickling would run code of whoever answered.
        if obj.get(b"nd") is True and obj.get(b"kind") == b"O":
            raise ValueError("an array of Python objects is not accepted")
        for tag, read in _READERS.items():
            if tag in obj and b"data" in obj:
                return read(obj[b"data"])
        return numpy_codec.decode(obj)

    try:
        return msgpack.unpackb(body, object_hook=object_hook)
    except (msgpack.UnpackException, TypeError, KeyError) as error:
        raise ValueError(str(error)) from None


def _tagged(obj: Any) -> dict[bytes, Any] | None:
    match obj:
        case datetime():
            return {b"__dt_datetime_iso__": True, b"data": obj.isoformat().replace("+00:00", "Z")}
        case date():
            return {b"__dt_date_iso__": True, b"data": obj.isoformat()}
        case time():
            return {b"__dt_time_iso__": True, b"data": obj.isoformat()}
        case timedelta():
            return {b"__dt_timedelta__": True, b"data": (obj.days, obj.seconds, obj.microseconds)}
        case Decimal():
            return {b"__decimal__": True, b"data": str(obj)}
        case UUID():
            return {b"__uuid__": True, b"data": str(obj)}
    return None


_READERS: dict[bytes, Callable[[Any], Any]] = {
    b"__dt_datetime_iso__": datetime.fromisoformat,
    b"__dt_date_iso__": date.fromisoformat,
    b"__dt_time_iso__": time.fromisoformat,
    b"__dt_timedelta__": lambda parts: timedelta(days=parts[0], seconds=parts[1], microseconds=parts[2]),
    b"__decimal__": Decimal,
    b"__uuid__": UUID,
}


@cache
def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import msgpack
        import msgpack_numpy
    except ImportError:
        raise BasetenInputError(
            "content_type='application/octet-stream' needs msgpack: install 'airflow-provider-baseten[msgpack]'."
        ) from None
    return msgpack, msgpack_numpy
