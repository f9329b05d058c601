"""The receiver: an ASGI app that stores what Baseten delivers."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.webhook.buffer import Body, Buffer
from airflow_provider_baseten.webhook.clock import Clock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import Attempt, Refused
from airflow_provider_baseten.webhook.drain import Drain
from airflow_provider_baseten.webhook.intake import Intake, kinds
from airflow_provider_baseten.webhook.spool import Kind, Spool

MAX_BODY_BYTES = 64 * 1024 * 1024

# Baseten gives up after 10 s, and tries again only if it was told to before that.
_PATIENCE = 8.0
# Largest bodies that may be in memory at once, and that one peer may have there unverified.
_MAX_BUFFERED = 4
_MAX_BUFFERED_OF_PEER = 3

_CONN_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")

_log = logging.getLogger(__name__)


def create_app(
    connections: Connections,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    patience: float = _PATIENCE,
    prefix: str = "",
    spool: Spool | None = None,
    clock: Clock | None = None,
    conn_id: str = "baseten_default",
) -> Starlette:
    """Return the app with ``POST {prefix}/webhooks/{conn_id}`` and ``GET {prefix}/health``.

    :param connections: the connections that deliveries are made to; they are asked for in a thread.
    :param max_body_bytes: larger deliveries are refused.
    :param patience: seconds after which an answer is given in any case.
    :param prefix: empty where the app is mounted below a path.
    :param spool: keeps what can't be stored; by default that is refused. It is drained from the app's start on, or,
        where nobody starts the app, from ``app.state.start()``.
    :param clock: judges the times of deliveries, by default with a tolerance of five minutes.
    :param conn_id: the connection whose server the clock is compared with at the start, if it is there.
    """
    receiver = _Receiver(
        connections,
        max_body_bytes=max_body_bytes,
        patience=patience,
        spool=spool,
        clock=clock or Clock(),
        conn_id=conn_id,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        receiver.start()
        yield
        receiver.stop()

    app = Starlette(
        routes=[
            Route(f"{prefix}/webhooks/{{conn_id}}", receiver.deliver, methods=["POST"]),
            Route(f"{prefix}/health", receiver.health, methods=["GET"]),
        ],
        lifespan=lifespan,
    )
    # Baseten does not follow redirects.
    app.router.redirect_slashes = False
    app.state.start = receiver.start
    app.state.stop = receiver.stop
    return app


class _Receiver:
    def __init__(
        self,
        connections: Connections,
        *,
        max_body_bytes: int,
        patience: float,
        spool: Spool | None,
        clock: Clock,
        conn_id: str,
    ) -> None:
        self._connections = connections
        self._max_body_bytes = max_body_bytes
        self._patience = patience
        self._spool = spool
        self._clock = clock
        self._conn_id = conn_id
        self._drain = Drain(spool, connections, clock) if spool else None
        self._intake = Intake(connections, clock=clock, spool=spool, spooled=self._wake_drain, patience=patience)
        self._buffer = Buffer(_MAX_BUFFERED * max_body_bytes, _MAX_BUFFERED_OF_PEER * max_body_bytes)

    def start(self) -> None:
        """Compare the clock, and store what is left in the spool, both in the background."""
        self._clock.compare_soon(self._url_of_server)
        self._wake_drain()

    def stop(self) -> None:
        """End what goes on in the background."""
        if self._drain:
            self._drain.stop()

    async def health(self, request: Request) -> Response:
        """Say whether the receiver works, and what waits in the spool."""
        clock = self._clock.state
        try:
            counts = await asyncio.to_thread(self._spool.counts) if self._spool else {}
        except BasetenResultStoreError:
            return JSONResponse({"status": "degraded", "clock": clock, "spooled": None, "held": None})
        held = counts.get(Kind.HELD, 0)
        status = "degraded" if clock == "off" or held else "ok"
        return JSONResponse({"status": status, "clock": clock, "spooled": sum(counts.values()) - held, "held": held})

    async def deliver(self, request: Request) -> Response:
        """Answer one delivery: 200 once its result is kept, 503 for what may go better next time."""
        # Only an id of this form is ever logged.
        conn_id = matched[0] if (matched := _CONN_ID.fullmatch(request.path_params["conn_id"])) else ""
        deadline = asyncio.get_running_loop().time() + self._patience
        with self._buffer.body(request.client.host if request.client else None) as body:
            try:
                await self._read(request, body, deadline)
                request_id = await self._intake.take(
                    Attempt(
                        body=bytes(body.content),
                        signature=",".join(request.headers.getlist("x-baseten-signature")),
                        request_id=request.headers.get("x-baseten-request-id"),
                    ),
                    conn_id,
                    peer=body.peer,
                    deadline=deadline,
                    verified=body.verify,
                )
            except ClientDisconnect:
                return Response(status_code=400)
            except Refused as refused:
                _log.warning(
                    "A delivery for connection %s was answered %d: %s", conn_id or None, refused.status, refused.reason
                )
                return JSONResponse({"error": refused.reason}, refused.status)
            except Exception as error:
                # Whatever it is, another attempt can't do harm. Its text may hold paths, and its traceback the payload.
                _log.error("A delivery for connection %s failed: %s", conn_id or None, kinds(error))
                return JSONResponse({"error": "The result could not be stored."}, 503)
        if request_id:
            _log.info("The result of async request %s was delivered for connection %s", request_id, conn_id)
        return JSONResponse({"request_id": request_id})

    async def _read(self, request: Request, body: Body, deadline: float) -> None:
        """Read the body. What it claims to be long is believed only if that is too long."""
        too_large = Refused(413, f"The body has more than {self._max_body_bytes:,} bytes.")
        if _number(request.headers.get("content-length", "")) > self._max_body_bytes:
            raise too_large
        size = 0
        try:
            async with asyncio.timeout_at(deadline):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_body_bytes:
                        raise too_large
                    # One that is given up is read to its end: only then its sender reads that it may try again.
                    self._buffer.add(body, chunk)
        except TimeoutError:
            raise Refused(408, "The body did not arrive in time.") from None
        if body.given_up:
            raise Refused(503, "Too much is delivered at once.")
        body.open = False

    def _wake_drain(self) -> None:
        if self._drain:
            self._drain.wake()

    def _url_of_server(self) -> str | None:
        connection = self._connections.find(self._conn_id)
        return connection.management_url if connection else None


def _number(digits: str) -> int:
    """Read a number that may be anything; more than 18 digits are more than every limit."""
    return int(digits[:18]) if digits.isdecimal() else 0
