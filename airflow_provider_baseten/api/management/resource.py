"""Resource: an object in a response of the management API, and the types of its values."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import pendulum
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, model_validator

_MICROSECONDS = 1_000_000
_DATETIME = TypeAdapter(datetime)


class Resource(BaseModel):
    """Object in a response of the management API. It can't be changed.

    Fields that this version of the package does not know are kept as attributes. Texts that the API calls an enum, such
    as a ``status``, may have values that this version does not know. ``model_dump(mode="json")`` returns all fields as
    JSON values.
    """

    # A field may begin with `model_`, which pydantic would reserve for itself. A class is built when it is used,
    # because most tasks use few of them.
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, value: Any) -> Any:
        """Leave out a null of a field that has a default. The API does not document all fields that can be null."""
        if not isinstance(value, dict):
            return value
        optional = {name for name, known in cls.model_fields.items() if not known.is_required()}
        return {name: item for name, item in value.items() if item is not None or name not in optional}


def _read_time(value: Any) -> pendulum.DateTime:
    time = _DATETIME.validate_python(value)
    return pendulum.instance(time if time.tzinfo else time.replace(tzinfo=UTC))


def _read_epoch(value: Any, per_second: int) -> pendulum.DateTime:
    if isinstance(value, datetime):
        return _read_time(value)
    if isinstance(value, bool):
        raise ValueError("a boolean is not a time")
    try:
        microseconds = int(value) * _MICROSECONDS // per_second
        return pendulum.instance(datetime.fromtimestamp(microseconds // _MICROSECONDS, UTC)).add(
            microseconds=microseconds % _MICROSECONDS
        )
    except (OverflowError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"not a time ({type(error).__name__})") from None


_AS_TEXT = PlainSerializer(lambda time: time.isoformat(), return_type=str, when_used="json-unless-none")

#: Time that the API sends as a text in ISO 8601.
Time = Annotated[pendulum.DateTime, PlainValidator(_read_time), _AS_TEXT]
#: Time that the API sends as a number of milliseconds since the epoch.
EpochMillis = Annotated[pendulum.DateTime, PlainValidator(lambda value: _read_epoch(value, 1000)), _AS_TEXT]
#: Time that the API sends as a number of nanoseconds since the epoch, in a text. It is precise to a microsecond.
EpochNanos = Annotated[pendulum.DateTime, PlainValidator(lambda value: _read_epoch(value, 10**9)), _AS_TEXT]


def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return the object that checks values of a type."""
    return _adapter_of(kind)


@cache
def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
