"""Body of a request to the management API: checks before it is sent."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BeforeValidator, ConfigDict, ValidationError

from airflow_provider_baseten.api.management.resource import adapter_of
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.exceptions import BasetenInputError

#: Configuration of a ``TypedDict`` that allows no unknown keys.
ONLY_KNOWN = ConfigDict(extra="forbid")

_MAX_PROBLEMS = 3
_MESSAGES = {"extra_forbidden": "Baseten knows no such setting"}


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")
    return value


#: Mark of a number in a ``TypedDict``. A number may also be given as a text, because templates return texts.
NUMBER = BeforeValidator(_refuse_boolean)


def check_body(kind: Any, name: str, value: Any) -> Any:
    """Check a value against a ``TypedDict``, and return it as JSON values. What was not given is not in the result.

    :param kind: the ``TypedDict``.
    :param name: name of the argument.
    :raises BasetenInputError: the value has an unknown key, lacks one, or a value is not valid; the message names it.
    """
    try:
        checked = adapter_of(kind).validate_python(value)
    except ValidationError as error:
        problems = [
            f"{name}{_index(found['loc'])}: {_MESSAGES.get(found['type'], found['msg'])}"
            for found in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_PROBLEMS]
        ]
        raise BasetenInputError(f"{name} is not valid, so nothing was sent. {'; '.join(problems)}.") from None
    return adapter_of(kind).dump_python(checked, mode="json")


def object_of(name: str, value: Any) -> Any:
    """Return the value of an argument that takes an object. A text is read as JSON, because templates return texts.

    :param name: name of the argument.
    :raises BasetenInputError: the value is a text that is not a JSON object.
    """
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise BasetenInputError(
            f"{name} is a text and not a JSON object, so nothing was sent: give an object, or a template that ends "
            "with the filter tojson."
        )
    return found


def _index(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part!r}]" for part in location)


def millis(name: str, time: datetime | None) -> int | None:
    """Return a time in milliseconds since the epoch; ``None`` for ``None``.

    :param name: name of the argument.
    :raises BasetenInputError: the value is not a time with a time zone.
    """
    return None if time is None else int(aware(name, time).timestamp() * 1000)


def iso(name: str, time: datetime | None) -> str | None:
    """Return a time as a text in ISO 8601; ``None`` for ``None``.

    :param name: name of the argument.
    :raises BasetenInputError: the value is not a time with a time zone.
    """
    return None if time is None else aware(name, time).isoformat()


def aware(name: str, time: datetime) -> datetime:
    """Return a time that has a time zone.

    :param name: name of the argument.
    :raises BasetenInputError: the value is not a time, or has no time zone.
    """
    if not isinstance(time, datetime):
        raise BasetenInputError(f"{name}={shown(time)} is not a time: give a datetime with a time zone.")
    if time.utcoffset() is None:
        raise BasetenInputError(f"{name}={shown(time)} has no time zone: give pendulum.datetime(...), for example.")
    return time
