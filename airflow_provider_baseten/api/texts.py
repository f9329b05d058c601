"""Texts of models, made valid Unicode so that they can be written and shown."""

import math
from typing import Any


def readable(text: str) -> str:
    """Return a text with each surrogate pair joined to one character, and each lone surrogate replaced by U+FFFD.

    Surrogates can't be written to files, logs or XCom. They arrive if a model stops inside an emoji, or if a server
    splits one.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def readable_value(value: Any) -> Any:
    """Return a JSON value with :func:`readable` applied to all its texts.

    :raises ValueError: a number is NaN or infinite, or the value is nested too deeply.
    """
    try:
        return _readable_value(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _readable_value(value: Any) -> Any:
    match value:
        case str():
            return readable(value)
        case float() if not math.isfinite(value):
            raise ValueError("a number is NaN or infinite")
        case dict():
            return {readable(name): _readable_value(item) for name, item in value.items()}
        case list() | tuple():
            return [_readable_value(item) for item in value]
    return value
