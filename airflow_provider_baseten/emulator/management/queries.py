"""Query parameters of the management API."""

from collections.abc import Collection
from datetime import datetime
from typing import TypeVar

from airflow_provider_baseten.emulator.errors import bad_request
from airflow_provider_baseten.emulator.management.routes import ManagementRequest

Value = TypeVar("Value")


def read_text(request: ManagementRequest, name: str) -> str | None:
    """Return a query parameter, ``None`` if it is missing."""
    values = request.query.get(name)
    return values[-1] if values else None


def read_integer(request: ManagementRequest, name: str, low: int, high: int | None = None) -> int | None:
    """Return a query parameter that is an integer, ``None`` if it is missing.

    :raises GatewayError: 400 if the value is not an integer between ``low`` and ``high``.
    """
    text = read_text(request, name)
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f"{name} must be an integer.") from None
    if value < low or (high is not None and value > high):
        raise bad_request(f"{name} must be " + (f"at least {low}." if high is None else f"from {low} to {high}."))
    return value


def read_choice(request: ManagementRequest, name: str, choices: Collection[str]) -> str | None:
    """Return a query parameter that is one of ``choices``, ``None`` if it is missing.

    :raises GatewayError: 400 for another value.
    """
    text = read_text(request, name)
    if text is not None and text not in choices:
        raise bad_request(f"{name} must be one of {', '.join(choices)}.")
    return text


def read_choices(request: ManagementRequest, name: str, choices: Collection[str] | None = None) -> list[str]:
    """Return all values of a query parameter.

    :param choices: the allowed values, by default any.
    :raises GatewayError: 400 for another value.
    """
    values = request.query.get(name, [])
    if choices is not None and not set(values) <= set(choices):
        raise bad_request(f"{name} must be one of {', '.join(choices)}.")
    return values


def read_time(request: ManagementRequest, name: str) -> float | None:
    """Return a query parameter that is a date and time with a zone, in seconds since the epoch.

    :raises GatewayError: 400 for another value.
    """
    text = read_text(request, name)
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise bad_request(f"{name} must be a date and time with a UTC offset.")
    return parsed.timestamp()


def require(value: Value | None, name: str) -> Value:
    """Return a value, or raise GatewayError 400 if the parameter is missing."""
    if value is None:
        raise bad_request(f"{name} is required.")
    return value
