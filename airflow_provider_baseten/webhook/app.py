"""Receiver of webhook deliveries, an ASGI app."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_baseten import config
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.telemetry.metrics import count_delivery, refusal
from airflow_provider_baseten.webhook.buffer import Body, Buffer
from airflow_provider_baseten.webhook.clock import DeliveryClock
from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.delivery import ReceivedDelivery, Refusal, valid_conn_id
from airflow_provider_baseten.webhook.drain import Drain
from airflow_provider_baseten.webhook.intake import Intake, error_types
from airflow_provider_baseten.webhook.spool import DeliveryKind, Spool

# Seconds until a delivery gets its response. Baseten gives up after ten seconds, and after such a timeout it does not
# send the delivery again.
_TIMEOUT = 8.0
# Limits on the memory for bodies, as multiples of the largest body that is accepted. `_MAX_BUFFERED` is the limit for
# all bodies, `_MAX_BUFFERED_OF_PEER` is the limit for the unverified bodies of one sender.
_MAX_BUFFERED = 4
_MAX_BUFFERED_OF_PEER = 3

_log = logging.getLogger(__name__)


def create_app(
    connections: Connections,
    *,
    max_body_bytes: int = config.WEBHOOK_MAX_BODY_BYTES.default,
    timeout: float = _TIMEOUT,
    prefix: str = "",
    spool: Spool | None = None,
    clock: DeliveryClock | None = None,
    conn_id: str = config.DEFAULT_CONN_ID,
) -> Starlette:
    """Return the app with ``POST {prefix}/webhooks/{conn_id}`` and ``GET {prefix}/health``.

    A delivery to ``POST {prefix}/webhooks/{conn_id}/events`` starts DAGs besides, because no task waits for it.

    :param connections: connections that may receive deliveries. They are looked up in a thread.
    :param max_body_bytes: largest body that is accepted, in bytes.
    :param timeout: seconds within which every delivery gets its response.
    :param prefix: path prefix of the routes; empty if the app is mounted below a path.
    :param spool: spool for deliveries that can't be stored; without a spool they are refused. Draining the spool begins
        with the app's lifespan, or with ``app.state.start()`` for servers that don't run the lifespan of a mounted app.
    :param clock: clock that checks the times of deliveries, by default with a tolerance of five minutes.
    :param conn_id: id of a connection. When the app starts, ``clock`` is compared with the clock of this connection's
        server. If there is no such connection, this comparison is left out.
    """
    receiver = _Receiver(
        connections,
        max_body_bytes=max_body_bytes,
        timeout=timeout,
        spool=spool,
        clock=clock or DeliveryClock(),
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
            Route(f"{prefix}/webhooks/{{conn_id}}/events", receiver.deliver_event, methods=["POST"]),
            Route(f"{prefix}/health", receiver.health, methods=["GET"]),
        ],
        lifespan=lifespan,
    )
    # No redirects, because Baseten does not follow them.
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
        timeout: float,
        spool: Spool | None,
        clock: DeliveryClock,
        conn_id: str,
    ) -> None:
        self._connections = connections
        self._max_body_bytes = max_body_bytes
        self._timeout = timeout
        self._spool = spool
        self._clock = clock
        self._conn_id = conn_id
        self._drain = Drain(spool, connections, clock) if spool else None
        self._intake = Intake(connections, clock=clock, spool=spool, on_spooled=self._wake_drain, timeout=timeout)
        self._buffer = Buffer(_MAX_BUFFERED * max_body_bytes, _MAX_BUFFERED_OF_PEER * max_body_bytes)

    def start(self) -> None:
        """Start the work in the background: compare this machine's clock with a server's, and drain the spool."""
        self._clock.compare_soon(self._url_of_server)
        self._wake_drain()

    def stop(self) -> None:
        """Stop the work in the background."""
        if self._drain:
            self._drain.stop()

    async def health(self, request: Request) -> Response:
        """Respond with the state of the receiver and the number of deliveries in the spool."""
        clock = self._clock.state
        try:
            counts = await asyncio.to_thread(self._spool.counts) if self._spool else {}
        except BasetenResultStoreError:
            return JSONResponse({"status": "degraded", "clock": clock, "spooled": None, "held": None})
        held = counts.get(DeliveryKind.HELD, 0)
        status = "degraded" if clock == "off" or held else "ok"
        return JSONResponse({"status": status, "clock": clock, "spooled": sum(counts.values()) - held, "held": held})

    async def deliver(self, request: Request) -> Response:
        """Receive one delivery. Respond with 200 once it is stored or spooled, with 503 if it should be sent again."""
        return await self._deliver(request, is_event=False)

    async def deliver_event(self, request: Request) -> Response:
        """Receive one delivery that starts DAGs, as :meth:`deliver` does."""
        return await self._deliver(request, is_event=True)

    async def _deliver(self, request: Request, *, is_event: bool) -> Response:
        conn_id = valid_conn_id(request.path_params["conn_id"])
        deadline = asyncio.get_running_loop().time() + self._timeout
        with self._buffer.body(request.client.host if request.client else None) as body:
            try:
                await self._read(request, body, deadline)
                request_id = await self._intake.accept_delivery(
                    ReceivedDelivery(
                        body=bytes(body.content),
                        signature=",".join(request.headers.getlist("x-baseten-signature")),
                        request_id=request.headers.get("x-baseten-request-id"),
                        is_event=is_event,
                    ),
                    conn_id,
                    peer=body.peer,
                    deadline=deadline,
                    on_verified=body.mark_verified,
                )
            except ClientDisconnect:
                return Response(status_code=400)
            except Refusal as refused:
                count_delivery(refusal(refused.status), "receiver")
                _log.warning(
                    "A delivery for connection %s was refused with %d: %s",
                    conn_id or None,
                    refused.status,
                    refused.reason,
                )
                return JSONResponse({"error": refused.reason}, refused.status)
            except Exception as error:
                # After a 503 Baseten sends the delivery again. This does no harm, because a result that is already
                # stored stays as it is. Only the types of errors are logged, because error messages may hold paths,
                # and tracebacks may hold the payload.
                count_delivery(refusal(503), "receiver")
                _log.error("A delivery for connection %s failed: %s", conn_id or None, error_types(error))
                return JSONResponse({"error": "The result could not be stored."}, 503)
        if request_id:
            _log.info("The result of async request %s was delivered for connection %s", request_id, conn_id)
        return JSONResponse({"request_id": request_id})

    async def _read(self, request: Request, body: Body, deadline: float) -> None:
        """Read the body.

        The Content-Length is not trusted. It is only used to refuse a body early if it says that the body is too large.
        """
        too_large = Refusal(413, f"The body has more than {self._max_body_bytes:,} bytes.")
        if _number(request.headers.get("content-length", "")) > self._max_body_bytes:
            raise too_large
        size = 0
        try:
            async with asyncio.timeout_at(deadline):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_body_bytes:
                        raise too_large
                    # A dropped body is still read to its end, because the sender reads the response (503) only then.
                    self._buffer.add(body, chunk)
        except TimeoutError:
            raise Refusal(408, "The body did not arrive in time.") from None
        if body.is_dropped:
            raise Refusal(503, "Too much is delivered at once.")
        body.is_open = False

    def _wake_drain(self) -> None:
        if self._drain:
            self._drain.wake()

    def _url_of_server(self) -> str | None:
        connection = self._connections.find(self._conn_id)
        return connection.management_url if connection else None


def _number(digits: str) -> int:
    """Return the number in a string of digits, 0 for any other string.

    Only the first 18 digits are read, because they suffice to exceed every limit.
    """
    return int(digits[:18]) if digits.isdecimal() else 0
