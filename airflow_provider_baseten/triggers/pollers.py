"""Pollers for the triggers of an event loop, one for each connection."""

import asyncio
from functools import partial
from weakref import WeakKeyDictionary

from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.hooks.shared_clients import shared_client
from airflow_provider_baseten.waiting.poller import Poller

# Seconds to wait for the response to a status or cancel call.
_CALL_TIMEOUT = 30.0

_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


def poller_of(baseten_conn_id: str) -> Poller:
    """Return the poller of a connection in the running event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    if baseten_conn_id not in pollers:
        pollers[baseten_conn_id] = new_poller(baseten_conn_id)
    return pollers[baseten_conn_id]


def new_poller(baseten_conn_id: str) -> Poller:
    """Return a poller. It shares the client of its connection with other code that runs in the same event loop."""
    # The client does not retry, because the poller itself repeats a call that failed.
    once = RequestRetries(max_attempts=1)
    share = partial(shared_client, baseten_conn_id, timeout=_CALL_TIMEOUT, request_retries=once)
    return Poller(baseten_conn_id, share)
