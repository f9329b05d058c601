"""Client source: interface that provides the client of a connection to code that does not use Airflow."""

from typing import Protocol

from airflow_provider_baseten.client.client import AsyncClient


class ClientSource(Protocol):
    """Source of a connection's client and result store."""

    async def client(self) -> AsyncClient:
        """Return the client; the first call reads the connection."""

    async def result_store(self) -> str | None:
        """Return the URI of the result store, ``None`` for the default one."""

    def renew(self, refused: AsyncClient) -> None:
        """Discard a client whose key was refused. The next call of :meth:`client` reads the connection again."""

    async def close(self) -> None:
        """Close the client."""
