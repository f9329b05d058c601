"""Bodies of predictions: JSON and msgpack, as Truss reads and writes them."""

import json
import sys
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_provider_baseten.emulator.arrays import Arrays

_DATETIME, _DATE, _TIME = b"__dt_datetime_iso__", b"__dt_date_iso__", b"__dt_time_iso__"
_TIMEDELTA, _DECIMAL, _UUID = b"__dt_timedelta__", b"__decimal__", b"__uuid__"

_SHORT = 1000


class InputParsingError(ValueError):
    """A request body is not what the model takes."""


def parse_input(body: bytes, *, binary: bool, input_type: type[BaseModel] | None) -> Any:
    """Return the model's input.

    :param body: the request body.
    :param binary: whether it is msgpack rather than JSON.
    :param input_type: pydantic model to parse into, if the model has a typed input.
    :raises InputParsingError: the body can't be parsed.
    """
    try:
        parsed = from_msgpack(body) if binary else json.loads(body)
    except json.JSONDecodeError as error:
        if input_type is not None:
            raise InputParsingError(f"Input Parsing Error:\n  `__root__`: {error}.") from error
        raise InputParsingError(f"Invalid JSON payload: {error}") from error
    except ValueError as error:
        if binary:
            raise InputParsingError(str(error)) from error
        raise
    if input_type is None:
        return parsed
    try:
        return input_type.model_validate(parsed)
    except ValidationError as error:
        raise InputParsingError(_describe(error)) from error


def to_json(output: Any) -> bytes:
    """Return an output as JSON; numpy arrays become nested lists.

    :raises TypeError: JSON can't express it.
    """
    if isinstance(output, BaseModel):
        return output.model_dump_json().encode()
    return json.dumps(output, default=_numpy_to_json).encode()


def to_msgpack(output: Any) -> bytes:
    """Return an output as msgpack; bytes are left as they are."""
    if isinstance(output, bytes):
        return output
    import msgpack
    import msgpack_numpy

    if isinstance(output, BaseModel):
        output = output.model_dump(mode="python")
    packed: bytes = msgpack.packb(output, default=lambda value: _encode(value, msgpack_numpy.encode))
    return packed


def from_msgpack(body: bytes) -> Any:
    """Return what a msgpack body holds.

    :raises ValueError: it is not msgpack, or holds an array or tagged value that is not what it says.
    """
    import msgpack

    _check_whole(body)
    arrays = Arrays(len(body))
    try:
        return msgpack.unpackb(body, object_hook=lambda value: _decode(value, arrays))
    except (TypeError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_whole(body: bytes) -> None:
    """Refuse a body that ends too early: msgpack takes memory, and does not give it back, for what it announces.

    Of a short one that is not much, and the refusal is in msgpack's own words.
    """
    if len(body) <= _SHORT:
        return
    import msgpack

    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(body)))
    unpacker.feed(body)
    try:
        unpacker.skip()
    except msgpack.OutOfData:
        raise ValueError("Unpack failed: incomplete input") from None


def _numpy_to_json(value: Any) -> Any:
    numpy = sys.modules.get("numpy")  # Without numpy in the process there is no numpy value.
    if numpy is not None:
        if isinstance(value, numpy.integer):
            return int(value)
        if isinstance(value, numpy.floating):
            return float(value)
        if isinstance(value, numpy.ndarray):
            return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _encode(value: Any, encode_other: Callable[[Any], Any]) -> Any:
    match value:
        case datetime():
            text = value.isoformat()
            return {_DATETIME: True, b"data": f"{text[:-6]}Z" if text.endswith("+00:00") else text}
        case date():
            return {_DATE: True, b"data": value.isoformat()}
        case time():
            if value.utcoffset() is not None:
                raise ValueError("Cannot represent timezone-aware times.")
            return {_TIME: True, b"data": value.isoformat()}
        case timedelta():
            return {_TIMEDELTA: True, b"data": (value.days, value.seconds, value.microseconds)}
        case Decimal():
            return {_DECIMAL: True, b"data": str(value)}
        case uuid.UUID():
            return {_UUID: True, b"data": str(value)}
    return encode_other(value)


def _timedelta(data: Any) -> timedelta:
    days, seconds, microseconds = data
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


_DECODERS: dict[bytes, Callable[[Any], Any]] = {
    _DATETIME: datetime.fromisoformat,
    _DATE: date.fromisoformat,
    _TIME: time.fromisoformat,
    _TIMEDELTA: _timedelta,
    _DECIMAL: Decimal,
    _UUID: uuid.UUID,
}


def _decode(value: dict[Any, Any], arrays: Arrays) -> Any:
    for tag, decode in _DECODERS.items():
        if tag in value and b"data" in value:
            return decode(value[b"data"])
    if b"complex" in value and b"data" in value and b"nd" not in value:
        return _complex(value[b"data"])
    return arrays.read(value)


def _complex(data: Any) -> complex:
    return complex(data.decode() if isinstance(data, bytes) else str(data))


def _describe(error: ValidationError) -> str:
    title = "Input Parsing Error:" if error.error_count() == 1 else "Input Parsing Errors:"
    problems = error.errors(include_url=False, include_input=False)
    return "\n".join([title, *(f"  `{_location(problem['loc'])}`: {problem['msg']}." for problem in problems)])


def _location(parts: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
