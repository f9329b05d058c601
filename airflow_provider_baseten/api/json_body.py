"""JSON bodies of requests, with errors that name the value that can't be encoded."""

import math
from decimal import Decimal
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.arguments import is_encodable, shown
from airflow_provider_baseten.exceptions import BasetenInputError

# Python refuses to convert larger integers to text.
_INTEGER_LIMIT = 10**4300


def encode_json(name: str, value: Any) -> bytes:
    """Encode a value as standard JSON; integers of any size and ``Decimal`` keep every digit.

    :param name: name of the value in error messages.
    :raises BasetenInputError: JSON can't hold a part of the value, for example NaN or a ``datetime``; the message names
        the first such part.
    """
    try:
        return exact_json.encode(value)
    except (TypeError, ValueError, RecursionError):
        path, problem = next(_find_problems(name, value), (name, "is nested too deeply or contains itself"))
        raise BasetenInputError(f"{path} {problem}; JSON can't carry that.") from None


def _find_problems(path: str, value: Any, depth: int = 0) -> Any:  # noqa: PLR0912 - one case for each type.
    """Yield the path and the problem of each part of a value that can't be encoded as JSON."""
    if depth > 100:
        return
    match value:
        case float() if not math.isfinite(value):
            yield path, f"is {value}"
        case Decimal() if not value.is_finite():
            yield path, f"is {value}"
        case str() if not is_encodable(value):
            yield path, "is text with a lone surrogate"
        case int() if not isinstance(value, bool) and abs(value) >= _INTEGER_LIMIT:
            yield path, "is a whole number of more than 4,300 digits"
        case None | bool() | int() | float() | str() | Decimal():
            return
        case dict():
            for key, item in value.items():
                if not isinstance(key, str | int | float | bool | None):
                    yield path, f"has a key of type {type(key).__name__}"
                elif isinstance(key, str) and not is_encodable(key):
                    yield path, "has a key with a lone surrogate or a byte that is not UTF-8"
                yield from _find_problems(f"{path}[{shown(key)}]", item, depth + 1)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _find_problems(f"{path}[{index}]", item, depth + 1)
        case _:
            yield path, f"is of type {type(value).__name__}"
