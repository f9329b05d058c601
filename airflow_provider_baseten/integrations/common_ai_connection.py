"""Airflow connections of type ``pydanticai_baseten``: the fields of a connection, checked."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_baseten.api.http import READ_TIMEOUT
from airflow_provider_baseten.api.prices import INPUT_PRICE, OUTPUT_PRICE, ModelPrice, read_price
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.connection import BasetenConnection

if TYPE_CHECKING:
    from airflow.sdk import Connection

LLM_CONN_TYPE = "pydanticai_baseten"

LLM_EXTRAS = (
    "model",
    "fallback_conn_ids",
    INPUT_PRICE,
    OUTPUT_PRICE,
    "auth_scheme",
    "management_api_key",
    "management_url",
    "log_error_details",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConnection:
    """Credentials for a model, and what the connection says about its price.

    :param conn_id: id of the Airflow connection.
    :param credentials: credentials of a client.
    :param price: price that the connection names; ``None`` if it names none.
    """

    conn_id: str
    credentials: Credentials = field(repr=False)
    price: ModelPrice | None = None


def read_connection(connection: "Connection", called: str | None = None) -> ModelConnection:
    """Return the checked fields of an Airflow connection.

    :param called: name of the connection in errors, by default ``connection '<id>'``.
    :raises BasetenAuthError: there is no API key, or a key contains characters that no API key has.
    :raises BasetenInputError: the connection is of another type, or a field is not valid.
    """
    checked = BasetenConnection.from_airflow(connection, called, conn_type=LLM_CONN_TYPE, extras=LLM_EXTRAS)
    return ModelConnection(
        conn_id=connection.conn_id,
        credentials=checked.credentials(READ_TIMEOUT, RequestRetries()),
        price=_price(connection, called or f"connection '{connection.conn_id}'"),
    )


def _price(connection: "Connection", called: str) -> ModelPrice | None:
    given = {name: connection.extra_dejson.get(name) for name in (INPUT_PRICE, OUTPUT_PRICE)}
    given = {name: value for name, value in given.items() if value not in (None, "")}
    if not given:
        return None
    if missing := {INPUT_PRICE, OUTPUT_PRICE} - given.keys():
        raise BasetenInputError(f"{missing.pop()} of {called} is missing: give both prices, or neither.")
    price = read_price(given)
    if price is None:
        raise BasetenInputError(
            f"{INPUT_PRICE} and {OUTPUT_PRICE} of {called} are not both prices: give numbers of USD, 0 or more."
        )
    return price
