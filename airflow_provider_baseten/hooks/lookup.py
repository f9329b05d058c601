"""Lookup of Airflow connections by id, with ``BASETEN_API_KEY`` in place of a missing default connection."""

from airflow.sdk import BaseHook

from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.compat import AirflowNotFoundException
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenAuthError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.hooks.connection_variable import check_variable


def find_connection(conn_id: str, called: str | None = None) -> BasetenConnection:
    """Return a connection, checked.

    :param called: name of the connection in errors, by default ``connection '<id>'``.
    :raises BasetenAuthError: the connection does not exist or has no API key.
    :raises BasetenInputError: a field of the connection is not valid.
    """
    try:
        return BasetenConnection.from_airflow(BaseHook.get_connection(conn_id), called)
    except AirflowNotFoundException:
        return _without_connection(conn_id)


async def afind_connection(conn_id: str) -> BasetenConnection:
    """Return a connection without blocking the event loop; see :func:`find_connection`."""
    try:
        found = await BaseHook.aget_connection(conn_id)
        return await in_thread(BasetenConnection.from_airflow, found)
    except AirflowNotFoundException:
        # In dag.test(), Airflow's async call does not find connections in the database if a trigger makes the call. So
        # try the blocking call too, in a thread.
        return await in_thread(find_connection, conn_id)


def _without_connection(conn_id: str) -> BasetenConnection:
    check_variable(conn_id)
    if conn_id == DEFAULT_CONN_ID:
        return BasetenConnection.from_environment(conn_id)
    raise BasetenAuthError(
        f"Connection '{conn_id}' does not exist: add one of type baseten with the API key as password."
    )
