"""Baseten's side: makes deliveries, signs them with code of its own, and sends them to an ASGI app in this process."""

import asyncio
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from airflow_provider_baseten.hooks.connection import BasetenConnection

SECRET = "whsec_hush-hush-hush"
OLD_SECRET = "whsec_the-one-before"
SECRET_OUTPUT = "the patient's name"

# What a receiver says of itself after a good delivery.
HEALTHY = {"status": "ok", "clock": "ok", "spooled": 0, "held": 0}
# A proxy that is not there: receivers look at Baseten's clock, and tests don't.
NOWHERE = "http://127.0.0.1:9"


def connection(result_store, **fields) -> BasetenConnection:
    given = {"webhook_secrets": (SECRET,), "result_store": str(result_store)} | fields
    return BasetenConnection(conn_id="prod", api_key="k", management_api_key="k", **given)


def body(request_id: Any = "r1", *, age: float = 0.0, **fields: Any) -> bytes:
    moment = datetime.now(UTC) - timedelta(seconds=age)
    payload = {
        "request_id": request_id,
        "model_id": "m1",
        "deployment_id": "d1",
        "type": "async_request_completed",
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "data": {"text": SECRET_OUTPUT},
        "errors": [],
    }
    return json.dumps(payload | fields).encode()


def signature(content: bytes, *secrets: str) -> str:
    digests = [hmac.new(secret.encode(), content, hashlib.sha256).hexdigest() for secret in secrets or (SECRET,)]
    return ",".join(f"v1={digest}" for digest in digests)


class Sender:
    """Sends to an app, all in one event loop."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.runner = asyncio.Runner()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver")

    def close(self) -> None:
        self.app.state.stop()
        self.runner.run(self.client.aclose())
        self.runner.close()

    def deliver(self, content: bytes, **options: Any) -> httpx.Response:
        return self.runner.run(self.adeliver(content, **options))

    def health(self) -> dict[str, Any]:
        return self.runner.run(self.client.get("/health")).json()

    def all(self, *calls: Any) -> list[Any]:
        async def together():
            return await asyncio.gather(*calls)

        return self.runner.run(together())

    async def adeliver(
        self, content: Any, *, signed: str | None = "right", conn_id: str = "prod", **headers: str
    ) -> httpx.Response:
        given = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        if signed is not None:
            given["X-BASETEN-SIGNATURE"] = signature(content) if signed == "right" else signed
        return await self.client.post(f"/webhooks/{conn_id}", content=content, headers=given)
