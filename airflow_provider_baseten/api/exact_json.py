"""Decoder and encoder of JSON that keep every digit of a number.

Python's ``json`` rounds decimals to 64-bit floats. orjson does the same, and also rounds integers beyond 64 bits.
Neither of the two libraries encodes a ``Decimal``.
"""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

# Matches numbers that 64 bits perhaps can't hold exactly: 16 or more digits (the decimal point counts as a digit), or
# an exponent of three digits. Digits inside texts match too; such a match only costs time.
_LONG_NUMBER = re.compile(rb"[1-9][0-9.]{15}|[eE][+-]?[0-9]{3}")

# Matches the complete text of each number that `_LONG_NUMBER` finds.
_WHOLE_NUMBER = re.compile(rb"[0-9][0-9.]{15,}(?:[eE][+-]?[0-9]+)?|[0-9.]+[eE][+-]?[0-9]{3,}")
_MAX_INT64_DIGITS = 18
_MAX_FLOAT_DIGITS = 17

# Longer integers become a `Decimal`, because Python refuses to make an `int` of more than 4,300 digits.
_MAX_INT_DIGITS = 4000


def has_long_number(body: bytes) -> bool:
    """Return whether JSON may hold a number that orjson would round. ``True`` may be a false alarm."""
    return _LONG_NUMBER.search(body) is not None


def is_rounded(body: bytes) -> bool:
    """Return whether orjson may round a number in JSON; slower than :func:`has_long_number`, with fewer false alarms.

    For example, many floats written by Python have 16 or 17 digits. :func:`has_long_number` reports such a float. This
    function does not, because orjson reads the float back unchanged.
    """
    return has_long_number(body) and not all(map(_is_kept, _WHOLE_NUMBER.findall(body)))


def _is_kept(number: bytes) -> bool:
    if number.isdigit():
        return len(number) <= _MAX_INT64_DIGITS
    try:
        return repr(float(number)).encode() == number
    except ValueError:  # Not a number, but digits inside a text.
        return False


def decode(body: bytes) -> Any:
    """Decode JSON in UTF-8, with or without a byte order mark.

    Integers become ``int``, or ``Decimal`` above 4,000 digits. Numbers with a decimal point or an exponent become
    ``float`` if a float keeps every digit, otherwise ``Decimal``. ``NaN``, ``Infinity`` and lone surrogates are
    accepted, as by Python's decoder.

    :raises ValueError: the body is not JSON, or is nested too deeply.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    numbers: dict[str, Any] = {"parse_float": _exact_float, "parse_int": _exact_int} if has_long_number(body) else {}
    try:
        return json.loads(body, **numbers)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def refuse_constant(constant: str) -> None:
    """Refuse NaN or an infinity; to be given to Python's decoder as ``parse_constant``.

    :raises ValueError: always.
    """
    raise ValueError(f"JSON has no {constant}")


def encode(value: Any) -> bytes:
    """Encode a value as standard JSON in UTF-8. ``Decimal`` becomes a number with all its digits.

    Keys that are numbers, booleans or ``None`` become strings, as with Python's encoder.

    :raises TypeError: a part of the value can't be encoded as JSON.
    :raises ValueError: a part is NaN or infinite, is a string with a lone surrogate, or contains itself.
    :raises RecursionError: the value is nested too deeply.
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except TypeError:
        # The value may hold a Decimal, which json can't encode. orjson is given each Decimal as JSON text (a fragment),
        # and copies this text to its output.
        return orjson.dumps(_with_fragments(value))


def encode_output(value: Any) -> bytes:
    """Encode an output as JSON that :func:`decode` accepts.

    NaN and infinities are written as Python's encoder writes them, and lone surrogates as escapes. numpy arrays become
    lists, and numpy numbers become numbers.

    :raises TypeError: a part of the value can't be encoded as JSON.
    :raises ValueError: the value contains itself, is nested too deeply, or has an integer with too many digits.
    """
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError):
        try:
            return "".join(_pieces(value)).encode()
        except RecursionError:
            raise ValueError("nested too deeply") from None


def number_text(value: Decimal) -> str:
    """Return a decimal as a JSON number.

    :raises ValueError: the decimal is NaN or infinite.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a number in JSON")
    return str(value)


def _exact_float(text: str) -> float | Decimal:
    number = float(text)
    if repr(number) == text:
        return number
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number has an exponent beyond all bounds") from None
    # The float is formatted with as many digits as the text has. If the result equals the text, no digit was lost. A
    # text of more than 17 digits is not compared, because hardly any float keeps that many.
    digits = len(exact.as_tuple().digits)
    is_kept = digits <= _MAX_FLOAT_DIGITS and exact == Decimal(f"{number:.{digits - 1}e}")
    return number if is_kept or exact.is_zero() else exact


def _exact_int(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MAX_INT_DIGITS else Decimal(text)


def _with_fragments(value: Any) -> Any:
    match value:
        case Decimal():
            return orjson.Fragment(number_text(value))
        case None | bool() | int() | float() | str():
            return orjson.Fragment(encode(value))
        case dict():
            return {_key(name): _with_fragments(item) for name, item in value.items()}
        case list() | tuple():
            return [_with_fragments(item) for item in value]
    raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case Decimal():
            yield str(value) if value.is_finite() else json.dumps(float(value) if not value.is_snan() else math.nan)
        case None | bool() | int() | float() | str():
            yield json.dumps(value)
        case dict():
            for number, (name, item) in enumerate(value.items()):
                yield f"{',' if number else '{'}{json.dumps(_key(name))}:"
                yield from _pieces(item)
            yield "}" if value else "{}"
        case list() | tuple():
            for number, item in enumerate(value):
                yield "," if number else "["
                yield from _pieces(item)
            yield "]" if value else "[]"
        case _ if hasattr(value, "tolist"):
            yield from _pieces(value.tolist())
        case _:
            raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")


def _key(name: Any) -> str:
    (text,) = json.loads(json.dumps({name: None}))
    return str(text)
