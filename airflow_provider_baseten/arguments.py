"""Checks of the arguments of operators, sensors, hooks and jobs, with errors that name the argument.

An invalid value raises an error before anything is sent. It is never replaced by the default. Each check tests the type
first, because the value may be a numpy array: an array has no truth value, and ``==`` compares each of its elements.
"""

import math
import re
from collections.abc import Collection
from datetime import timedelta
from os import PathLike, fspath
from typing import Any

from airflow_provider_baseten.exceptions import BasetenInputError

#: Upper bound of all timeouts in seconds: ten years. A longer timeout may end after the year 9999 or overflow a timer.
MAX_TIMEOUT_SECONDS = 10 * 365 * 86_400

_MAX_CHARACTERS = 80

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:/{1,2}|//)(?!/)(.*)", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(?:\[[^]]*\]|[^:]*):[0-9]*")


def shown(value: Any) -> str:
    """Return the ``repr`` of any value for an error message: on one line and truncated."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # A class's ``__repr__`` may raise anything. For an integer with thousands of digits Python raises a ValueError.
        return f"(of type {type(value).__name__})"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 3]}..."


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are already known while the DAG is parsed.

    Two kinds of values are known, and checked, only when the task runs, so they are left out: outputs of other tasks
    (``XComArg``), and functions that Airflow calls to get the value of a template field.
    """
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, PathLike) or not (callable(value) or hasattr(value, "resolve"))
    }


def is_encodable(text: str) -> bool:
    """Return whether a string can be encoded in UTF-8; a string with a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_texts(**values: Any) -> None:
    """Check that values are strings or ``None``.

    :raises BasetenInputError: a value is neither.
    """
    for name, value in values.items():
        if not isinstance(value, str | None):
            raise BasetenInputError(f"{name} takes a text, not a {type(value).__name__}: {shown(value)}.")


def check_is_there(**values: Any) -> None:
    """Check that no value is ``None``. An input is ``None`` if it comes from a task that returns nothing.

    :raises BasetenInputError: a value is ``None``.
    """
    for name, value in values.items():
        if value is None:
            raise BasetenInputError(
                f"{name} is None, so nothing was sent: give an input. If it comes from another task, look at what that "
                "task returns."
            )


def check_exactly_one(**values: Any) -> None:
    """Check that exactly one of two values is not ``None``; the values may be templates that are not rendered yet.

    :raises BasetenInputError: both are given, or neither.
    """
    if all(value is None for value in values.values()):
        raise BasetenInputError(f"Give exactly one of {' and '.join(values)}; neither is given.")
    if all(value is not None for value in values.values()):
        raise BasetenInputError(f"Give exactly one of {' and '.join(values)}; both are given.")


def check_at_most_one(**values: Any) -> None:
    """Check that at most one of two values is not ``None``; the values may be templates that are not rendered yet.

    :raises BasetenInputError: both are given.
    """
    if all(value is not None for value in values.values()):
        raise BasetenInputError(f"Give at most one of {' and '.join(values)}; both are given.")


def check_paths(**values: Any) -> None:
    """Check that each value is a path or URI (a string or a path object) or ``None``.

    :raises BasetenInputError: a value is something else.
    """
    for name, value in values.items():
        if value is not None:
            path_text(name, value)


def path_text(name: str, value: Any) -> str:
    """Return a path or URI as a string.

    :param name: name of the argument.
    :param value: a string, a path object, or Airflow's ``ObjectStoragePath``.
    :raises BasetenInputError: the value is something else, has characters that no path can have, or has a password.
    """
    try:
        path = fspath(value) if isinstance(value, PathLike) else value
    except Exception:  # A class's ``__fspath__`` may raise anything.
        path = None
    if is_storage_path(path):
        path = str(path)
    if not isinstance(path, str):
        raise BasetenInputError(f"{name}={shown(value)} is not a path or URI.")
    if "\0" in path or not is_encodable(path):
        raise BasetenInputError(
            f"{name}={shown(value)} can't be a path or URI: it holds a zero byte or a lone surrogate."
        )
    check_no_password(name, path)
    return path


def check_no_password(name: str, uri: str) -> None:
    """Check that a path or URI has no password, because logs, XComs and pages show it; see :func:`has_password`.

    :param name: name of the argument or setting.
    :raises BasetenInputError: there is a password. The message does not contain the URI.
    """
    if has_password(uri):
        raise BasetenInputError(
            f"{name} has a colon before its '@', as between a user and a password. Only the id of an Airflow "
            "connection can be there, without a colon: put the password into the connection, and write for example "
            "'s3://aws_default@bucket/folder'."
        )


def check_folder(name: str, uri: str) -> None:
    """Check the URI of a folder that several processes share.

    :param name: name of the setting.
    :raises BasetenInputError: there is a password in the URI, or it is a relative path, which each process would look
        for in its own working directory.
    """
    check_no_password(name, uri)
    if not re.match(r"/|[A-Za-z][A-Za-z0-9+.-]*:/", uri):
        raise BasetenInputError(f"{name} is a relative path: give an absolute path or a URI, such as file:///folder.")


def has_password(uri: str) -> bool:
    """Return whether there seems to be a password before the ``@`` of a URI. Templates in the URI are left out.

    Airflow reads all that stands there as the id of a connection, so a password has no effect.
    """
    links = _TEMPLATE.sub("", uri).split("::")  # fsspec chains URIs with two colons.
    return any(_is_password_in(found[1]) for link in links if (found := _SCHEME.match(link)))


def _is_password_in(text: str) -> bool:
    first, _, path = text.partition("/")
    user, at, _ = first.rpartition("@")
    if at:
        return ":" in user
    # A password may contain slashes. A colon is there too before a port, and in the ARN of an access point of S3.
    return "@" in path and ":" in first and not (first.startswith("arn:") or _HOST_AND_PORT.fullmatch(first))


def is_storage_path(value: Any) -> bool:
    """Return whether a value is Airflow's ``ObjectStoragePath``."""
    if value is None or isinstance(value, str) or not hasattr(value, "protocol"):
        return False
    from airflow.sdk import ObjectStoragePath  # Imported here, so that other paths do not load Airflow.

    return isinstance(value, ObjectStoragePath)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that a value is one of the ``choices``.

    :param name: name of the argument.
    :param choices: the valid strings.
    :raises BasetenInputError: the value is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise BasetenInputError(f"{name}={shown(value)} is not one of {', '.join(map(repr, choices))}.")


def check_flags(**values: Any) -> None:
    """Check that values are booleans, because the string ``"false"`` would count as true.

    :raises BasetenInputError: a value is not a boolean.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise BasetenInputError(f"{name}={shown(value)} is neither True nor False.")


def check_functions(**values: Any) -> None:
    """Check that values are callable or ``None``.

    :raises BasetenInputError: a value is neither.
    """
    for name, value in values.items():
        if value is not None and not callable(value):
            raise BasetenInputError(f"{name}={shown(value)} is not a function.")


def check_count(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check that a value is a whole number within its bounds.

    :param name: name of the argument.
    :param least: lower bound.
    :param most: upper bound, if any.
    :raises BasetenInputError: the value is not a whole number, or is out of bounds.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        upper = "on" if most is None else f"to {most}"
        raise BasetenInputError(f"{name}={shown(value)} is not a whole number from {least} {upper}.")


def check_seconds(**values: Any) -> None:
    """Check that values are seconds above 0 and at most :data:`MAX_TIMEOUT_SECONDS`.

    :raises BasetenInputError: a value is not a number, is infinite or NaN, or is out of bounds.
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise BasetenInputError(f"{name}={shown(value)} is not a number of seconds above 0.")
        if value > MAX_TIMEOUT_SECONDS:
            raise BasetenInputError(f"{name}={shown(value)} is longer than ten years, {MAX_TIMEOUT_SECONDS} seconds.")


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds.

    :param name: name of the argument.
    :param value: a number of seconds, or a ``timedelta``.
    :raises BasetenInputError: see :func:`check_seconds`.
    """
    number: float = value.total_seconds() if isinstance(value, timedelta) else value
    check_seconds(**{name: number})
    return number


def check_ratio(name: str, value: Any) -> None:
    """Check that a value is a number from 0 to 1.

    :param name: name of the argument.
    :raises BasetenInputError: the value is not such a number.
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise BasetenInputError(f"{name}={shown(value)} is not a number from 0 to 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
