"""Pollers for the triggers of an event loop, one for each connection."""

import asyncio
from functools import partial
from weakref import WeakKeyDictionary

from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.hooks.shared_clients import SharedClient
from airflow_provider_baseten.waiting.call_limits import CALL_ATTEMPTS, CALL_TIMEOUT
from airflow_provider_baseten.waiting.poller import Poller

_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


def poller_of(baseten_conn_id: str) -> Poller:
    """Return the poller of a connection in the running event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    if baseten_conn_id not in pollers:
        pollers[baseten_conn_id] = new_poller(baseten_conn_id)
    return pollers[baseten_conn_id]


def new_poller(baseten_conn_id: str) -> Poller:
    """Return a new poller. It serves all triggers of an event loop that use the connection, with one client for all."""
    retries = RequestRetries(max_attempts=CALL_ATTEMPTS)
    return Poller(baseten_conn_id, partial(SharedClient, baseten_conn_id, CALL_TIMEOUT, retries))
