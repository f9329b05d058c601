"""Bodies of predictions: JSON and msgpack, as Truss reads and writes them."""

import json
import sys
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ValidationError

_DATETIME, _DATE, _TIME = b"__dt_datetime_iso__", b"__dt_date_iso__", b"__dt_time_iso__"
_TIMEDELTA, _DECIMAL, _UUID = b"__dt_timedelta__", b"__decimal__", b"__uuid__"


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

    :raises ValueError: it is not msgpack, or holds an array of Python objects.
    """
    import msgpack
    import msgpack_numpy

    return msgpack.unpackb(body, object_hook=lambda value: _decode(value, msgpack_numpy.decode))


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


_DECODERS: dict[bytes, Callable[[Any], Any]] = {
    _DATETIME: datetime.fromisoformat,
    _DATE: date.fromisoformat,
    _TIME: time.fromisoformat,
    _TIMEDELTA: lambda data: timedelta(days=data[0], seconds=data[1], microseconds=data[2]),
    _DECIMAL: Decimal,
    _UUID: uuid.UUID,
}


def _decode(value: dict[Any, Any], decode_other: Callable[[Any], Any]) -> Any:
    # Unpacking an array of objects would unpickle whatever was sent.
    if value.get(b"nd") is True and value.get(b"kind") == b"O":
        raise ValueError("unsupported payload")
    for tag, decode in _DECODERS.items():
        if tag in value and b"data" in value:
            return decode(value[b"data"])
    return decode_other(value)


def _describe(error: ValidationError) -> str:
    title = "Input Parsing Error:" if error.error_count() == 1 else "Input Parsing Errors:"
    problems = error.errors(include_url=False, include_input=False)
    return "\n".join([title, *(f"  `{_location(problem['loc'])}`: {problem['msg']}." for problem in problems)])


def _location(parts: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
