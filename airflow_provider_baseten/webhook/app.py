"""The receiver: an ASGI app that stores what Baseten delivers."""

import asyncio
import logging
import re
import time

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_baseten.webhook.buffer import Body, Buffer
from airflow_provider_baseten.webhook.connections import Lookup
from airflow_provider_baseten.webhook.delivery import Attempt, Refused, accept
from airflow_provider_baseten.webhook.threads import Threads

MAX_BODY_BYTES = 64 * 1024 * 1024

# Baseten gives up after 10 s, and tries again only if it was told to before that.
_PATIENCE = 8.0
_THREADS = 8
# Largest bodies that may be in memory at once, and that one peer may have there unverified.
_MAX_BUFFERED = 4
_MAX_BUFFERED_OF_PEER = 3

_CONN_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")

_log = logging.getLogger(__name__)


def create_app(
    lookup: Lookup, *, max_body_bytes: int = MAX_BODY_BYTES, patience: float = _PATIENCE, prefix: str = ""
) -> Starlette:
    """Return the app with ``POST {prefix}/webhooks/{conn_id}`` and ``GET {prefix}/health``.

    :param lookup: finds the connection of an id; may block, is called in a thread.
    :param max_body_bytes: larger deliveries are refused.
    :param patience: seconds after which an answer is given in any case.
    :param prefix: empty where the app is mounted below a path.
    """
    receiver = _Receiver(lookup, max_body_bytes, patience)
    app = Starlette(
        routes=[
            Route(f"{prefix}/webhooks/{{conn_id}}", receiver.deliver, methods=["POST"]),
            Route(f"{prefix}/health", _health, methods=["GET"]),
        ]
    )
    # Baseten does not follow redirects.
    app.router.redirect_slashes = False
    return app


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Receiver:
    def __init__(self, lookup: Lookup, max_body_bytes: int, patience: float) -> None:
        self._lookup = lookup
        self._max_body_bytes = max_body_bytes
        self._patience = patience
        self._threads = Threads(_THREADS)
        self._buffer = Buffer(_MAX_BUFFERED * max_body_bytes, _MAX_BUFFERED_OF_PEER * max_body_bytes)

    async def deliver(self, request: Request) -> Response:
        """Answer one delivery: 200 once its result is stored, 503 for what may go better next time."""
        # Only an id of this form is ever logged.
        conn_id = matched[0] if (matched := _CONN_ID.fullmatch(request.path_params["conn_id"])) else None
        deadline = asyncio.get_running_loop().time() + self._patience
        with self._buffer.body(request.client.host if request.client else None) as body:
            try:
                await self._read(request, body, deadline)
                request_id = await self._store(request, conn_id, body, deadline)
            except ClientDisconnect:
                return Response(status_code=400)
            except Refused as refused:
                _log.warning(
                    "A delivery for connection %s was answered %d: %s", conn_id, refused.status, refused.reason
                )
                return JSONResponse({"error": refused.reason}, refused.status)
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

    async def _store(self, request: Request, conn_id: str | None, body: Body, deadline: float) -> str:
        signature = ",".join(request.headers.getlist("x-baseten-signature"))
        claimed_id = request.headers.get("x-baseten-request-id")

        def take() -> str:
            attempt = Attempt(body=bytes(body.content), signature=signature, request_id=claimed_id)
            return accept(attempt, self._lookup(conn_id) if conn_id else None, now=time.time())

        try:
            async with asyncio.timeout_at(deadline):
                return await self._threads.run(take)
        except TimeoutError:
            raise Refused(503, "The result was not stored in time.") from None
        except Refused:
            raise
        except Exception as error:
            # Whatever it is, another attempt can't do harm. Its text may hold paths, and its traceback the payload.
            _log.error("A result could not be stored: %s", _kinds(error))
            raise Refused(503, "The result could not be stored.") from None


def _number(digits: str) -> int:
    """Read a number that may be anything; more than 18 digits are more than every limit."""
    return int(digits[:18]) if digits.isdecimal() else 0


def _kinds(error: BaseException) -> str:
    """Name an error and what caused it, without their texts."""
    name = type(error).__name__
    return f"{name} from {_kinds(error.__cause__)}" if error.__cause__ else name
