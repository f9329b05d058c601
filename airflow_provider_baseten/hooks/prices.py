"""Price of a Model API, as the management API of a connection names it."""

import threading

from airflow_provider_baseten.api.prices import ModelPrice, read_price
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.hooks.baseten import BasetenHook

# Longest time in seconds that a lookup may take, because a task that has ended waits for it.
_TIMEOUT = 3.0


def known_price(baseten_conn_id: str, slug: str) -> ModelPrice | None:
    """Return the price of a Model API; ``None`` if it is not known within 3 seconds. The request costs nothing.

    :param baseten_conn_id: id of the Airflow connection.
    :param slug: name of the model, for example ``deepseek-ai/DeepSeek-V4-Pro``.
    """
    try:
        connection = BasetenHook(baseten_conn_id).connection
        credentials = connection.credentials(_TIMEOUT, RequestRetries(max_attempts=1))
    except BasetenError:
        return None
    found: list[ModelPrice | None] = []
    # The timeout of a request limits each of its steps, but not their sum. A daemon thread does not hold up the end of
    # the process.
    lookup = threading.Thread(target=lambda: found.append(_read(credentials, slug)), daemon=True)
    lookup.start()
    lookup.join(_TIMEOUT)
    return found[0] if found else None


def _read(credentials: Credentials, slug: str) -> ModelPrice | None:
    try:
        with Client(credentials) as client:
            return read_price(client.management.get_model_api(slug).model_dump())
    except BasetenError:
        return None
