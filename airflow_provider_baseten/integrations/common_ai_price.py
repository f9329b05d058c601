"""Prices of models that have a ``cost_limit``: from the connection, or from Baseten's management API."""

from airflow_provider_baseten.api.prices import INPUT_PRICE, OUTPUT_PRICE, ModelPrice, read_price
from airflow_provider_baseten.api.target import ModelApis
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.integrations.common_ai_connection import ModelConnection
from airflow_provider_baseten.integrations.common_ai_target import target_of


def find_price(model: str, connection: ModelConnection) -> ModelPrice:
    """Return the price of a model. The request to the management API costs nothing.

    :param model: name of the model, see :func:`~.common_ai_target.target_of`.
    :raises BasetenError: the price is not known. The message says how to give it.
    """
    if connection.price is not None:
        return connection.price
    fields = f"enter {INPUT_PRICE} and {OUTPUT_PRICE} in connection '{connection.conn_id}', or remove cost_limit"
    target = target_of(model)
    if not isinstance(target, ModelApis):
        raise BasetenInputError(
            f"A cost_limit needs a price, but Baseten charges {target} by the minute and not by the token: {fields}."
        )
    try:
        with Client(connection.credentials) as client:
            price = read_price(client.management.get_model_api(model).model_dump())
    except BasetenError as error:
        error.args = (f"A cost_limit needs the price of {model}, which can't be read: {error} Or {fields}.",)
        raise
    if price is None:
        raise BasetenInputError(f"A cost_limit needs a price, but Baseten names none for {model}: {fields}.")
    return price
