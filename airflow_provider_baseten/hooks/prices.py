"""Price of a Model API, as the management API of a connection names it."""

from airflow_provider_baseten.api.prices import ModelPrice, read_price
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.baseten import BasetenHook

# Longest time in seconds that a lookup may take, because a task that has ended waits for it.
_TIMEOUT = 3.0


def known_price(baseten_conn_id: str, slug: str) -> ModelPrice | None:
    """Return the price of a Model API; ``None`` if it is not known. The request costs nothing.

    :param baseten_conn_id: id of the Airflow connection.
    :param slug: name of the model, for example ``deepseek-ai/DeepSeek-V4-Pro``.
    """
    try:
        connection = BasetenHook(baseten_conn_id).connection
        with Client(connection.credentials(_TIMEOUT, RequestRetries(max_attempts=1))) as client:
            return read_price(client.management.get_model_api(slug))
    except BasetenError:
        return None
