"""Check of values for XCom: whether Airflow returns them exactly as they were pushed.

An XCom goes through four steps. (1) The task SDK serialises the value. It refuses some types and dictionary keys, and
turns some others into another type. (2) msgpack packs the value for the supervisor process. (3) Pydantic validates the
value. (4) The database stores the value as JSON: PostgreSQL as JSONB, MySQL with at most 100 levels of nesting.

A value that one of these steps refuses or changes does not pass the check. The rules were tested with Airflow 3.1.0 and
3.3.2.
"""

from typing import Any

# Maximum levels of nesting below the value. MySQL accepts 100 levels, of which the value itself is the first. Pydantic
# accepts 254.
_MAX_LEVELS = 90
# Maximum characters of a dictionary's key. MySQL accepts 65,535 bytes, and a character takes up to 4 bytes.
_MAX_KEY_LENGTH = 16_000
# Floats of this size or larger do not pass the check. Python writes them with an exponent, for example 1e+16, and JSONB
# turns such a number into an integer.
_LARGE_FLOAT = 1e16


def xcom_safe(value: Any, *, long_integers: bool) -> bool:
    """Return whether a value that is stored as an XCom is read back unchanged, with the same types.

    These pass: ``None``, booleans, integers, floats between -1e16 and 1e16, strings without NUL or lone surrogates,
    lists, and dictionaries whose keys are such strings. Keys that begin with two underscores do not pass, because
    Airflow would build objects from them. Values with too many levels of nesting or too long keys do not pass either.

    :param long_integers: whether integers beyond 64 bits pass.
    """
    level = [value]
    for _ in range(_MAX_LEVELS + 1):
        deeper: list[Any] = []
        for item in level:
            # Not isinstance, because only values of exactly these types pass. Members of enumerations and numpy
            # numbers, for example, are read back from XCom with another type.
            kind = type(item)
            if kind is str:
                is_safe = _is_storable_text(item)
            elif kind is float:
                is_safe = -_LARGE_FLOAT < item < _LARGE_FLOAT
            elif kind is int:
                is_safe = long_integers or -(2**63) <= item < 2**64
            elif kind is list:
                is_safe = True
                deeper.extend(item)
            elif kind is dict:
                is_safe = all(map(_is_key, item))
                deeper.extend(item.values())
            else:
                is_safe = item is None or kind is bool
            if not is_safe:
                return False
        if not deeper:
            return True
        level = deeper
    return False


def _is_key(key: Any) -> bool:
    return type(key) is str and len(key) <= _MAX_KEY_LENGTH and not key.startswith("__") and _is_storable_text(key)


def _is_storable_text(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
