"""Airflow connection: whether it is found, where, and whether its fields are valid."""

from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_baseten.checks.network import STEP_SECONDS
from airflow_provider_baseten.checks.result import CheckResult, failed, ok
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.compat import secrets_backends
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.hooks.connection_variable import check_variable
from airflow_provider_baseten.hooks.lookup import find_connection

_NAME = "connection"

_SOURCES = {
    "ExecutionAPISecretsBackend": "Airflow's API server",
    "MetastoreBackend": "Airflow's database",
}


@dataclass(frozen=True, slots=True)
class FoundConnection:
    """Result of the lookup of a connection.

    :param conn_id: id of the connection.
    :param connection: the connection; ``None`` if it is missing or not valid.
    :param credentials: credentials of a client; ``None`` if there is no connection.
    :param source: where the connection is defined; empty if that is not known.
    :param error: why there is no connection.
    :param ignored: why Airflow ignores the environment variable of the connection; empty if it does not.
    """

    conn_id: str
    connection: BasetenConnection | None = None
    credentials: Credentials | None = None
    source: str = ""
    error: str = ""
    ignored: str = ""


def observe_connection(conn_id: str) -> FoundConnection:
    """Look a connection up, as a task in this process does."""
    try:
        connection = find_connection(conn_id)
        credentials = connection.credentials(STEP_SECONDS, RequestRetries(max_attempts=1))
    except BasetenError as error:
        source, ignored = _look_at_sources(conn_id)
        return FoundConnection(conn_id, source=source, error=str(error), ignored=ignored)
    except Exception as error:  # The database or a secrets backend is down. The text may quote its URL and password.
        return FoundConnection(conn_id, error=f"Connection '{conn_id}' can't be looked up ({type(error).__name__}).")
    source, ignored = _look_at_sources(conn_id)
    source = source or "the environment variable BASETEN_API_KEY"
    return FoundConnection(conn_id, connection, credentials, source, ignored=ignored)


def judge_connection(found: FoundConnection) -> CheckResult:
    """Judge whether the connection can be used."""
    source = f" It comes from {found.source}." if found.source else ""
    if found.ignored:
        used = f" Airflow uses another connection with this id.{source}" if found.connection else ""
        message = f"{found.ignored}{used}"
        return failed(_NAME, message, "Correct the variable, or remove it, wherever Airflow runs with it.")
    if found.connection is None:
        return failed(
            _NAME,
            f"{found.error}{source}",
            "Correct the connection there."
            if source
            else "A connection in an environment variable is found only by processes with this variable; one in "
            "Airflow's database, only with the configuration of this Airflow.",
        )
    return ok(_NAME, f"Connection '{found.conn_id}' is valid.{source}")


def _look_at_sources(conn_id: str) -> tuple[str, str]:
    """Return where a connection is defined, the first of the places that Airflow looks at, and why Airflow ignores the
    environment variable of the connection; empty strings for neither.
    """
    ignored = ""
    for backend in (secrets_backends() or list)():
        name = type(backend).__name__
        is_environment = name == "EnvironmentVariablesBackend"
        with suppress(Exception):  # A backend that is down is passed over, as Airflow does.
            if backend.get_connection(conn_id=conn_id) is not None:
                if is_environment:
                    return f"the environment variable AIRFLOW_CONN_{conn_id.upper()}", ""
                return _SOURCES.get(name, f"the secrets backend {name}"), ignored
        if is_environment:
            try:
                check_variable(conn_id)
            except BasetenInputError as error:
                ignored = str(error)
    return "", ignored
