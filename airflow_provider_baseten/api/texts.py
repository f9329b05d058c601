"""Texts that can be written and shown, whatever a model made of them."""

import math
from typing import Any


def readable(text: str) -> str:
    """Return a text in which the halves of a character (surrogates) are joined, and a lone half is U+FFFD.

    A model that is cut within an emoji, or a server that splits one, sends halves. No file, log or XCom takes them.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def readable_value(value: Any) -> Any:
    """Return a JSON value whose texts are readable.

    :raises ValueError: a number in it is NaN or infinite, or it is nested too deeply.
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
