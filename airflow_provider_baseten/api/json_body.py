"""JSON bodies of requests."""

import math
from decimal import Decimal
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.arguments import is_encodable, shown
from airflow_provider_baseten.exceptions import BasetenInputError

# Python makes no text of larger integers.
_MOST_OF_INTEGERS = 10**4300


def encode_json(name: str, value: Any) -> bytes:
    """Encode a value as standard JSON; integers of any size and ``Decimal`` keep every digit.

    :param name: what the error calls the value.
    :raises BasetenInputError: names the place of the first NaN, infinity or value that JSON has no form for.
    """
    try:
        return exact_json.encode(value)
    except (TypeError, ValueError, RecursionError):
        place, trouble = next(_not_json(name, value), (name, "is nested too deeply or holds itself"))
        raise BasetenInputError(f"{place} {trouble}; JSON can't carry that.") from None


def _not_json(place: str, value: Any, depth: int = 0) -> Any:  # noqa: PLR0912 - one case for each type.
    """Yield the places of a value that JSON can't carry, and what is wrong there."""
    if depth > 100:
        return
    match value:
        case float() if not math.isfinite(value):
            yield place, f"is {value}"
        case Decimal() if not value.is_finite():
            yield place, f"is {value}"
        case str() if not is_encodable(value):
            yield place, "is text with a lone surrogate"
        case int() if not isinstance(value, bool) and abs(value) >= _MOST_OF_INTEGERS:
            yield place, "is a whole number of more than 4,300 digits"
        case None | bool() | int() | float() | str() | Decimal():
            return
        case dict():
            for key, item in value.items():
                if not isinstance(key, str | int | float | bool | None):
                    yield place, f"has a key of type {type(key).__name__}"
                elif isinstance(key, str) and not is_encodable(key):
                    yield place, "has a key with a lone surrogate or a byte that is not UTF-8"
                yield from _not_json(f"{place}[{shown(key)}]", item, depth + 1)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _not_json(f"{place}[{index}]", item, depth + 1)
        case _:
            yield place, f"is of type {type(value).__name__}"
