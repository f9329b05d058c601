"""Shared clients: async clients that the triggers of an event loop share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from airflow_provider_baseten.client.client import AsyncClient
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.hooks.lookup import afind_connection
from airflow_provider_baseten.telemetry.observer import AIRFLOW_OBSERVER


class SharedClient:
    """Async client of a connection. It is opened when it is first needed. After :meth:`renew`, a new one is opened.

    :param baseten_conn_id: id of the Airflow connection.
    :param timeout: seconds to wait for a response.
    :param request_retries: how often, and for how long, a failed request is sent again if the model did not run.
    """

    def __init__(self, baseten_conn_id: str, timeout: float, request_retries: RequestRetries) -> None:
        self._conn_id = baseten_conn_id
        self._timeout = timeout
        self._request_retries = request_retries
        self._opening = asyncio.Lock()
        self._opened: tuple[AsyncClient, BasetenConnection] | None = None

    async def client(self) -> AsyncClient:
        """Return the client.

        :raises BasetenError: the connection does not exist or is not valid.
        """
        return (await self._open())[0]

    async def result_store(self) -> str | None:
        """Return the URI of the result store that the connection names, ``None`` if it names none.

        :raises BasetenError: the connection does not exist or is not valid.
        """
        return (await self._open())[1].result_store

    def renew(self, refused: AsyncClient) -> None:
        """Discard a client whose API key was refused.

        The next call of :meth:`client` reads the connection again, because its key may have been replaced.
        """
        if self._opened is not None and self._opened[0] is refused:
            # The old client is not closed, because other triggers may still have requests in flight with it. Closing it
            # would abort these requests, but Baseten might still charge for them.
            self._opened = None

    async def close(self) -> None:
        """Close the client."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened[0].close()

    async def _open(self) -> tuple[AsyncClient, BasetenConnection]:
        async with self._opening:
            if self._opened is None:
                connection = await afind_connection(self._conn_id)
                credentials = connection.credentials(self._timeout, self._request_retries)
                client = AsyncClient(credentials, observer=AIRFLOW_OBSERVER)
                self._opened = client, connection
            return self._opened


@dataclass(slots=True)
class _Use:
    client: SharedClient
    users: int = 0


_Key = tuple[str, float]
_uses: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Use]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(
    baseten_conn_id: str,
    *,
    timeout: float,  # noqa: ASYNC109 - a timeout of each request, not of this function.
) -> AsyncIterator[SharedClient]:
    """Yield the client of an Airflow connection. All triggers of the running event loop with the same connection and
    the same timeout share this client.

    The timeout and the retries of a client are the same for all its requests. Therefore triggers with different
    timeouts use different clients. A poller has its own timeout and does not retry, so it has a client of its own.
    Clients from ``with_options`` are no alternative, because they do not share their HTTP connections.

    The shared client is closed when the last of the ``async with`` blocks that use it ends.
    """
    key = (baseten_conn_id, timeout)
    uses = _uses.setdefault(asyncio.get_running_loop(), {})
    use = uses.setdefault(key, _Use(SharedClient(*key, RequestRetries())))
    use.users += 1
    try:
        yield use.client
    finally:
        use.users -= 1
        if use.users == 0:
            del uses[key]
            await use.client.close()
