"""Arguments that people give to operators, sensors, hooks and jobs: what is none of theirs is an error that names the
argument, never taken for the default and never left to fail after something was sent.

The checks ask a value for its type before anything else: an array has no truth value and compares element by element.
"""

import math
from collections.abc import Collection
from datetime import timedelta
from os import PathLike, fspath
from typing import Any

from airflow_provider_baseten.exceptions import BasetenInputError

#: Most seconds that anything waits, ten years: Airflow has no later moment than the end of the year 9999, and a system
#: no longer timeouts than it can count.
MOST_SECONDS = 10 * 365 * 86_400

_MOST_CHARACTERS = 80


def shown(value: Any) -> str:
    """Return a value as an error shows it: on one line, short, and whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Code of the value's class; or a whole number of more digits than Python makes a text of.
        return f"(of type {type(value).__name__})"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."


def given(**values: Any) -> dict[str, Any]:
    """Return those of the values that are there when the DAG is parsed: not the output of another task, and no function
    that Airflow calls for the value. These are checked when the task runs.
    """
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, PathLike) or not (callable(value) or hasattr(value, "resolve"))
    }


def is_encodable(text: str) -> bool:
    """Tell whether a text can be UTF-8: one with a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_texts(**values: Any) -> None:
    """Check that values are texts; ``None`` is taken.

    :raises BasetenInputError: one is something else.
    """
    for name, value in values.items():
        if not isinstance(value, str | None):
            raise BasetenInputError(f"{name} takes a text, not a {type(value).__name__}: {shown(value)}.")


def check_is_there(**values: Any) -> None:
    """Check that no value is ``None``, which is what a task without an output leaves.

    :raises BasetenInputError: one is.
    """
    for name, value in values.items():
        if value is None:
            raise BasetenInputError(
                f"{name} is None, so nothing was sent: give an input. If it comes from another task, look at what that "
                "task returns."
            )


def check_exactly_one(**values: Any) -> None:
    """Check that one of two values is given, the other ``None``; they may still be templates.

    :raises BasetenInputError: both are, or neither.
    """
    if all(value is None for value in values.values()):
        raise BasetenInputError(f"Give exactly one of {' and '.join(values)}; neither is given.")
    if all(value is not None for value in values.values()):
        raise BasetenInputError(f"Give exactly one of {' and '.join(values)}; both are given.")


def check_at_most_one(**values: Any) -> None:
    """Check that not both of two values are given; they may still be templates.

    :raises BasetenInputError: both are.
    """
    if all(value is not None for value in values.values()):
        raise BasetenInputError(f"Give at most one of {' and '.join(values)}; both are given.")


def check_paths(**values: Any) -> None:
    """Check that values are paths or URIs, as texts or path objects; ``None`` is taken.

    :raises BasetenInputError: one is something else.
    """
    for name, value in values.items():
        if value is not None:
            path_text(name, value)


def path_text(name: str, value: Any) -> str:
    """Return a path or URI as a text.

    :param name: of the argument.
    :param value: a text, a path object, or an ``ObjectStoragePath`` of Airflow's.
    :raises BasetenInputError: it is something else, or holds what no file has in its name.
    """
    try:
        path = fspath(value) if isinstance(value, PathLike) else value
    except Exception:  # Code of the value's class.
        path = None
    if _is_storage_path(path):
        path = str(path)
    if not isinstance(path, str):
        raise BasetenInputError(f"{name}={shown(value)} is no path or URI.")
    if "\0" in path or not is_encodable(path):
        raise BasetenInputError(
            f"{name}={shown(value)} can't be a path or URI: it holds a zero byte or half a character."
        )
    return path


def _is_storage_path(value: Any) -> bool:
    if value is None or isinstance(value, str) or not hasattr(value, "protocol"):
        return False
    from airflow.sdk import ObjectStoragePath  # Others need not wait for Airflow.

    return isinstance(value, ObjectStoragePath)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that a value is one of a few texts.

    :param name: of the argument.
    :raises BasetenInputError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise BasetenInputError(f"{name}={shown(value)} is not one of {', '.join(map(repr, choices))}.")


def check_flags(**values: Any) -> None:
    """Check that values are true or false: ``"false"`` is true in Python.

    :raises BasetenInputError: one is not.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise BasetenInputError(f"{name}={shown(value)} is neither True nor False.")


def check_functions(**values: Any) -> None:
    """Check that values can be called; ``None`` is taken.

    :raises BasetenInputError: one can't.
    """
    for name, value in values.items():
        if value is not None and not callable(value):
            raise BasetenInputError(f"{name}={shown(value)} is no function.")


def check_count(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check that a value is a whole number within its bounds.

    :param name: of the argument.
    :raises BasetenInputError: it is not.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        upper = "on" if most is None else f"to {most}"
        raise BasetenInputError(f"{name}={shown(value)} is not a whole number from {least} {upper}.")


def check_seconds(**values: Any) -> None:
    """Check that values are seconds above 0 and at most :data:`MOST_SECONDS`.

    :raises BasetenInputError: one is something else, infinite or NaN.
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise BasetenInputError(f"{name}={shown(value)} is not a number of seconds above 0.")
        if value > MOST_SECONDS:
            raise BasetenInputError(f"{name}={shown(value)} is longer than ten years, {MOST_SECONDS} seconds.")


def seconds(name: str, value: Any) -> float:
    """Return a number of seconds, or a ``timedelta``, as seconds.

    :param name: of the argument.
    :raises BasetenInputError: see :func:`check_seconds`.
    """
    number: float = value.total_seconds() if isinstance(value, timedelta) else value
    check_seconds(**{name: number})
    return number


def check_share(name: str, value: Any) -> None:
    """Check that a value is a number from 0 to 1.

    :param name: of the argument.
    :raises BasetenInputError: it is not.
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise BasetenInputError(f"{name}={shown(value)} is not a number from 0 to 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
