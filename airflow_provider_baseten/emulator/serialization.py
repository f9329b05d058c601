"""Serialization of inputs and outputs in JSON and msgpack, in the same way as Truss's server."""

import json
import sys
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_provider_baseten.emulator.arrays import ArrayDecoder

_DATETIME, _DATE, _TIME = b"__dt_datetime_iso__", b"__dt_date_iso__", b"__dt_time_iso__"
_TIMEDELTA, _DECIMAL, _UUID = b"__dt_timedelta__", b"__decimal__", b"__uuid__"

# Bodies of up to this size are not checked before msgpack unpacks them: even if such a body is incomplete, msgpack
# allocates little memory for it.
_SMALL_BODY_BYTES = 1000


class InputParsingError(ValueError):
    """The request body cannot be parsed, or does not match the model's input type."""


def parse_input(body: bytes, *, is_msgpack: bool, input_type: type[BaseModel] | None) -> Any:
    """Return the model's input.

    :param body: request body.
    :param is_msgpack: whether the body is msgpack instead of JSON.
    :param input_type: pydantic model into which the input is parsed, ``None`` to return the parsed JSON or msgpack.
    :raises InputParsingError: the body cannot be parsed, or does not match ``input_type``.
    """
    try:
        parsed = from_msgpack(body) if is_msgpack else json.loads(body)
    except json.JSONDecodeError as error:
        if input_type is not None:
            raise InputParsingError(f"Input Parsing Error:\n  `__root__`: {error}.") from error
        raise InputParsingError(f"Invalid JSON payload: {error}") from error
    except ValueError as error:
        if is_msgpack:
            raise InputParsingError(str(error)) from error
        raise
    if input_type is None:
        return parsed
    try:
        return input_type.model_validate(parsed)
    except ValidationError as error:
        raise InputParsingError(_format_validation_error(error)) from error


def to_json(output: Any) -> bytes:
    """Return an output as JSON. numpy arrays become nested lists.

    :raises TypeError: the output contains a value that has no JSON form.
    """
    if isinstance(output, BaseModel):
        return output.model_dump_json().encode()
    return json.dumps(output, default=_numpy_to_json).encode()


def to_msgpack(output: Any) -> bytes:
    """Return an output as msgpack. An output that is bytes already is returned unchanged."""
    if isinstance(output, bytes):
        return output
    import msgpack
    import msgpack_numpy

    if isinstance(output, BaseModel):
        output = output.model_dump(mode="python")
    packed: bytes = msgpack.packb(output, default=lambda value: _encode(value, msgpack_numpy.encode))
    return packed


def from_msgpack(body: bytes) -> Any:
    """Return the content of a msgpack body.

    :raises ValueError: the body is not msgpack, or contains an invalid array, date or other encoded value.
    """
    import msgpack

    _check_complete(body)
    decoder = ArrayDecoder(len(body))
    try:
        return msgpack.unpackb(body, object_hook=lambda value: _decode(value, decoder))
    except (TypeError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_complete(body: bytes) -> None:
    """Raise ValueError for a large incomplete body, before msgpack unpacks the body.

    While unpacking, msgpack allocates memory for the lengths that the body declares. It does not free this memory if
    the body is incomplete. Small bodies are not checked here: msgpack allocates little memory for them, and raises its
    own error if they are incomplete.
    """
    if len(body) <= _SMALL_BODY_BYTES:
        return
    import msgpack

    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(body)))
    unpacker.feed(body)
    try:
        unpacker.skip()
    except msgpack.OutOfData:
        raise ValueError("Unpack failed: incomplete input") from None


def _numpy_to_json(value: Any) -> Any:
    # Importing numpy here would be slow. If it is not imported yet, no value is a numpy value.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.integer):
            return int(value)
        if isinstance(value, numpy.floating):
            return float(value)
        if isinstance(value, numpy.ndarray):
            return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _encode(value: Any, encode_array: Callable[[Any], Any]) -> Any:
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
    return encode_array(value)


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


def _decode(value: dict[Any, Any], decoder: ArrayDecoder) -> Any:
    for tag, decode in _DECODERS.items():
        if tag in value and b"data" in value:
            return decode(value[b"data"])
    if b"complex" in value and b"data" in value and b"nd" not in value:
        return _complex(value[b"data"])
    return decoder.decode(value)


def _complex(data: Any) -> complex:
    return complex(data.decode() if isinstance(data, bytes) else str(data))


def _format_validation_error(error: ValidationError) -> str:
    title = "Input Parsing Error:" if error.error_count() == 1 else "Input Parsing Errors:"
    problems = error.errors(include_url=False, include_input=False)
    return "\n".join([title, *(f"  `{_format_location(problem['loc'])}`: {problem['msg']}." for problem in problems)])


def _format_location(parts: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
