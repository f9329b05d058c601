"""Arrow values as JSON values: whole columns at once, or value by value if a value of the column can't be converted.

Timestamps, dates and times become ISO 8601 text. A fraction of a second has 6 digits, or 9 if there are nanoseconds; a
full second has none. Decimals keep every digit, maps and structs become objects, UUIDs become text.
Binary values, durations, intervals and dates beyond the year 9999 have no standard form in JSON and are errors.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_baseten.exceptions import BasetenInputError

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


class _NoJsonError(ValueError):
    """A value can't be converted to JSON; the message says why."""


def record_batch_rows(batch: "pa.RecordBatch", where: str, before: int) -> Iterator[Any]:
    """Yield the rows of a batch as objects, and an error for each row with a value that can't be converted.

    :param where: words before the row number in error messages.
    :param before: number of the file's rows before the batch.
    """
    names = batch.schema.names
    errors: dict[int, str] = {}
    columns = [_column(name, array, errors) for name, array in zip(names, batch.columns, strict=True)]
    values = zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)
    for index, row in enumerate(values):
        if index in errors:
            yield BasetenInputError(f"{where} {before + index + 1} has {errors[index]}.")
        else:
            yield dict(zip(names, row, strict=True))


def _column(name: str, array: "pa.Array", errors: dict[int, str]) -> list[Any]:
    try:
        return json_values(array)
    except Exception:
        return [_single(name, array, index, errors) for index in range(len(array))]


def _single(name: str, array: "pa.Array", index: int, errors: dict[int, str]) -> Any:
    try:
        return json_values(array.slice(index, 1))[0]
    except _NoJsonError as error:
        reason = str(error)
    except OverflowError:
        reason = "a date or time beyond the years 1 to 9999"
    except Exception as error:
        reason = f"a value of type {array.type} that can't be read ({type(error).__name__})"
    errors.setdefault(index, f"in column {name!r} {reason}")
    return None


def json_values(array: "pa.Array") -> list[Any]:
    """Return the values of an array as JSON values.

    :raises Exception: a value can't be converted or read.
    """
    import pyarrow as pa

    kind, types = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        own = _EXTENSIONS.get(kind.extension_name)
        return json_values(array.storage) if own is None else _mapped(own, array.to_pylist())
    if types.is_dictionary(kind):
        return json_values(array.dictionary_decode())
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        entries = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _mapped(_object, json_values(array.cast(pa.list_(entries))))
    if types.is_nested(kind) and not types.is_union(kind):
        return _lists(array)
    if types.is_float16(kind):
        return _mapped(float, array.to_pylist())  # Old versions of pyarrow return numpy numbers.
    if array.null_count == len(array):
        return [None] * len(array)
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        numbers = array.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
        return _mapped(_text_of(kind), numbers)
    if _is_plain(kind):
        return array.to_pylist()  # type: ignore[no-any-return]
    raise _NoJsonError(f"a value of type {kind}, which has no form in JSON")


_EXTENSIONS: dict[str, Callable[[Any], Any]] = {"arrow.uuid": str, "arrow.bool8": bool}


def _is_plain(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    types = pa.types
    tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in (*tests, *texts))


def _mapped(function: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    return [None if value is None else function(value) for value in values]


def _structs(array: "pa.StructArray") -> list[Any]:
    names = [field.name for field in array.type]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise _NoJsonError(f"a struct with several fields of the name {repeated[0]!r}")
    fields = [json_values(child) for child in array.flatten()]
    values = zip(*fields, strict=True) if fields else iter([()] * len(array))
    known = array.is_valid().to_pylist()
    return [dict(zip(names, value, strict=True)) if valid else None for valid, value in zip(known, values, strict=True)]


def _lists(array: "pa.Array") -> list[Any]:
    import pyarrow.compute

    values = iter(json_values(array.flatten()))
    return _mapped(lambda length: list(islice(values, length)), pyarrow.compute.list_value_length(array).to_pylist())


def _object(entries: list[dict[str, Any]]) -> dict[str, Any]:
    members = {_key(entry["key"]): entry["value"] for entry in entries}
    if len(members) < len(entries):
        raise _NoJsonError("a map with a key twice")
    return members


def _key(key: Any) -> str:
    if not isinstance(key, str | int):
        raise _NoJsonError(f"a map with a key that is not text but {type(key).__name__}")
    return str(key).lower() if isinstance(key, bool) else str(key)


def _text_of(kind: "pa.DataType") -> Callable[[int], str]:
    """Return the function that turns a stored number into ISO 8601 text.

    :param kind: a type of dates, times or timestamps. Arrow stores them as numbers.
    """
    import pyarrow as pa

    if pa.types.is_date32(kind):
        return lambda days: (_EPOCH + timedelta(days=days)).date().isoformat()
    if pa.types.is_date64(kind):
        return lambda milliseconds: (_EPOCH + timedelta(milliseconds=milliseconds)).date().isoformat()
    per_second = _PER_SECOND[kind.unit]
    if pa.types.is_time(kind):
        return lambda number: _time_text(number, per_second)
    zone = None if kind.tz is None else _zone(kind.tz)
    return lambda number: _timestamp_text(number, per_second, zone)


def _timestamp_text(number: int, per_second: int, zone: tzinfo | None) -> str:
    seconds, rest = divmod(number, per_second)
    moment = _EPOCH + timedelta(seconds=seconds)
    text = (moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)).isoformat()
    return f"{text[:19]}{_fraction(rest, per_second)}{text[19:]}"


def _time_text(number: int, per_second: int) -> str:
    seconds, rest = divmod(number, per_second)
    if not 0 <= seconds < 24 * 60 * 60:
        raise _NoJsonError("a time that is not within one day")
    return (_EPOCH + timedelta(seconds=seconds)).time().isoformat() + _fraction(rest, per_second)


def _fraction(rest: int, per_second: int) -> str:
    nanoseconds = rest * (10**9 // per_second)
    if nanoseconds % 1000:
        return f".{nanoseconds:09d}"
    return f".{nanoseconds // 1000:06d}" if nanoseconds else ""


@cache
def _zone(name: str) -> tzinfo:
    try:
        if offset := _OFFSET.fullmatch(name):
            minutes = int(offset[2]) * 60 + int(offset[3])
            return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
        return ZoneInfo(name)
    except Exception:
        raise _NoJsonError(f"a time in the time zone {name!r}, which is not known here") from None
