"""Gate before XCom: what Airflow gives back exactly as it was put in.

An XCom is serialised by the task SDK, which takes certain objects and keys for instructions to build objects; packed
with msgpack for the supervisor; checked by Pydantic; and stored as JSON, by PostgreSQL as JSONB and by MySQL with at
most 100 levels. What one of these refuses or changes does not pass. Checked with Airflow 3.1.0 and 3.3.2.
"""

from typing import Any

# MySQL takes 100 with the value itself, Pydantic 254.
_MOST_LEVELS = 90
# MySQL takes 65,535 bytes.
_LONGEST_KEY = 16_000
# From here on Python writes a float with an exponent, which JSONB stores as an integer.
_LARGE_FLOAT = 1e16


def xcom_safe(value: Any, *, long_integers: bool) -> bool:
    """Tell whether an XCom of this value is the same value, of the same types.

    Only ``None``, booleans, integers, finite floats, texts without NUL and lone surrogates, lists, and dictionaries
    with such texts as keys can pass. Keys that begin with two underscores do not: Airflow would build objects from
    them.

    :param long_integers: whether integers beyond 64 bits pass.
    """
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        deeper: list[Any] = []
        for item in level:
            # Not isinstance: Airflow gives back an enumeration, a subclass or a numpy number as something else.
            kind = type(item)
            if kind is str:
                passes = _is_plain(item)
            elif kind is float:
                passes = -_LARGE_FLOAT < item < _LARGE_FLOAT
            elif kind is int:
                passes = long_integers or -(2**63) <= item < 2**64
            elif kind is list:
                passes = True
                deeper.extend(item)
            elif kind is dict:
                passes = all(map(_is_key, item))
                deeper.extend(item.values())
            else:
                passes = item is None or kind is bool
            if not passes:
                return False
        if not deeper:
            return True
        level = deeper
    return False


def _is_key(key: Any) -> bool:
    return type(key) is str and len(key) <= _LONGEST_KEY and not key.startswith("__") and _is_plain(key)


def _is_plain(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
