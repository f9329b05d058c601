"""Environment variables in which Airflow looks for connections."""

import json
import os
from contextlib import suppress
from urllib.parse import urlsplit

from airflow_provider_baseten.arguments import is_encodable, shown
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.connection import CONN_TYPE, forms

# Fields of a connection that Airflow reads from JSON.
_FIELDS = {
    *("conn_id", "conn_type", "description", "extra", "host", "login", "password", "port", "schema", "team_name", "uri")
}


def check_variable(conn_id: str) -> None:
    """Raise an error if the environment variable of a connection is set. Call this if Airflow found nothing in it.

    Airflow ignores a variable that it can't parse, and then reports only that the connection does not exist.

    :param conn_id: id of the connection.
    :raises BasetenInputError: the variable ``AIRFLOW_CONN_...`` of the connection is set.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable) if is_encodable(variable) else None
    if text:
        hint = "" if _is_json(text) else " In a URI, escape a host that has a scheme: http%3A%2F%2F127.0.0.1%3A8700."
        raise BasetenInputError(
            f"{variable} is set, but Airflow can't read a connection from it{_reason(text)}: write {forms(CONN_TYPE)}."
            f"{hint}"
        )


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _reason(text: str) -> str:
    """Return why a text is not valid, if that is known. It holds a key, so only names of fields are quoted."""
    if not _is_json(text):
        return "" if _has_valid_port(text) else ", because its port is not a number up to 65535"
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        return f", because it is not valid JSON ({error.msg}, character {error.pos + 1})"
    except (RecursionError, ValueError):
        return ", because it is not valid JSON"
    unknown = sorted(fields.keys() - _FIELDS)
    return f", because a connection has no field {shown(unknown[0])}" if unknown else ""


def _has_valid_port(uri: str) -> bool:
    with suppress(ValueError):
        urlsplit(uri).port  # noqa: B018 - raises an error for a port that is not valid.
        return True
    return False
