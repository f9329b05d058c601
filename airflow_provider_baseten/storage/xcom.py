"""Check of values for XCom: whether Airflow returns them exactly as they were pushed.

An XCom is serialised by the task SDK, which takes certain objects and keys for instructions to build objects; packed
with msgpack for the supervisor; validated by Pydantic; and stored as JSON, by PostgreSQL as JSONB and by MySQL with at
most 100 levels. A value that one of these refuses or changes does not pass. Checked with Airflow 3.1.0 and 3.3.2.
"""

from typing import Any

# MySQL accepts 100 with the value itself, Pydantic 254.
_MAX_LEVELS = 90
# MySQL accepts 65,535 bytes.
_MAX_KEY_LENGTH = 16_000
# From here on Python writes a float with an exponent, which JSONB stores as an integer.
_LARGE_FLOAT = 1e16


def xcom_safe(value: Any, *, long_integers: bool) -> bool:
    """Return whether Airflow returns this value unchanged, with the same types.

    Only ``None``, booleans, integers, finite floats, texts without NUL and lone surrogates, lists, and dictionaries
    with such texts as keys pass. Keys that begin with two underscores do not: Airflow would build objects from them.

    :param long_integers: whether integers beyond 64 bits pass.
    """
    level = [value]
    for _ in range(_MAX_LEVELS + 1):
        deeper: list[Any] = []
        for item in level:
            # Not isinstance: Airflow returns an enumeration, a subclass or a numpy number as another type.
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
