"""Airflow connection: whether it is found, where, and whether its fields are valid."""

from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_baseten.checks.network import STEP_SECONDS
from airflow_provider_baseten.checks.result import CheckResult, failed, ok
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.compat import secrets_backends
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.connection import BasetenConnection
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
    """

    conn_id: str
    connection: BasetenConnection | None = None
    credentials: Credentials | None = None
    source: str = ""
    error: str = ""


def observe_connection(conn_id: str) -> FoundConnection:
    """Look a connection up, as a task in this process does."""
    try:
        connection = find_connection(conn_id)
        credentials = connection.credentials(STEP_SECONDS, RequestRetries(max_attempts=1))
    except BasetenError as error:
        return FoundConnection(conn_id, source=_source(conn_id), error=str(error))
    except Exception as error:  # The database or a secrets backend is down. The text may quote its URL and password.
        return FoundConnection(conn_id, error=f"Connection '{conn_id}' can't be looked up ({type(error).__name__}).")
    source = _source(conn_id) or "the environment variable BASETEN_API_KEY"
    return FoundConnection(conn_id, connection, credentials, source)


def judge_connection(found: FoundConnection) -> CheckResult:
    """Judge whether the connection can be used."""
    source = f" It comes from {found.source}." if found.source else ""
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


def _source(conn_id: str) -> str:
    """Return where a connection is defined, the first of the places that Airflow looks at."""
    for backend in (secrets_backends() or list)():
        with suppress(Exception):  # A backend that is down is passed over, as Airflow does.
            if backend.get_connection(conn_id=conn_id) is not None:
                name = type(backend).__name__
                if name == "EnvironmentVariablesBackend":
                    return f"the environment variable AIRFLOW_CONN_{conn_id.upper()}"
                return _SOURCES.get(name, f"the secrets backend {name}")
    return ""
