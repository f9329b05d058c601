"""JSON encoder for rows and inputs. It also accepts dates, data classes and other types that JSON does not have."""

import dataclasses
import math
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from airflow_provider_baseten.api.exact_json import number_text
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.exceptions import BasetenInputError

_FAST = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode_value(name: str, value: Any, *, sort_keys: bool = False) -> bytes:
    """Encode a value as JSON. Integers of any size and ``Decimal`` keep every digit.

    Dates and times are encoded as ISO 8601, UUIDs as text, enumerations by their value, data classes and all mappings
    as objects.

    :param name: name of the value in error messages.
    :param sort_keys: whether to sort the members of objects, for comparing values.
    :raises BasetenInputError: the value can't be encoded as JSON; the message says where.
    """
    try:
        body = orjson.dumps(value, default=_fragment, option=_FAST | (orjson.OPT_SORT_KEYS if sort_keys else 0))
        # orjson writes NaN and infinity as null. A value that contains one of them is checked by the slow way below.
        if not (b"null" in body and _has_nan(value)):
            return body
    except Exception:  # noqa: S110 - the slow way below raises a precise error.
        pass
    try:
        return encode_json(name, json_value(value, sort_keys=sort_keys))
    except BasetenInputError:
        raise
    except RecursionError:
        raise BasetenInputError(f"{name} is nested too deeply or holds itself; JSON can't carry that.") from None
    except Exception as error:  # A mapping or a time zone of the user may raise anything.
        raise BasetenInputError(f"{name} can't be read: encoding it as JSON {raised(error)}.") from None


def json_value(value: Any, *, sort_keys: bool = False) -> Any:
    """Return a value in which dates, data classes and other types that JSON does not have are replaced by JSON values.

    Values inside lists and mappings are replaced too. An object that can't be encoded as JSON, such as a set, stays
    unchanged.
    """
    match value:
        case str() | int() | float() | Decimal() | None if not isinstance(value, Enum):
            return value
        case Mapping():
            members = {key: json_value(item, sort_keys=sort_keys) for key, item in value.items()}
            return dict(sorted(members.items(), key=lambda member: str(member[0]))) if sort_keys else members
        case list() | tuple():
            return [json_value(item, sort_keys=sort_keys) for item in value]
    simple = _simple(value)
    return value if simple is value else json_value(simple, sort_keys=sort_keys)


def _simple(value: Any) -> Any:
    """Convert the outermost value only: a data class becomes a dictionary of its fields, a date becomes a string.

    JSON values and objects of other types are returned unchanged.
    """
    match value:
        case Enum():
            return value.value
        case date() | time() if value == value:  # noqa: PLR0124 - pandas' NaT is a date that equals nothing.
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def _fragment(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(number_text(value))
    simple = _simple(value)
    if simple is value:
        raise TypeError
    return simple


def _has_nan(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case str() | int() | None if not isinstance(value, Enum):
            return False
        case Mapping():
            return any(map(_has_nan, value.values()))
        case list() | tuple():
            return any(map(_has_nan, value))
    simple = _simple(value)
    return simple is not value and _has_nan(simple)
