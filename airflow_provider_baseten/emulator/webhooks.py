"""Webhooks: how the output of an async request leaves."""

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import httpx

from airflow_provider_baseten.emulator.addressing import Address
from airflow_provider_baseten.emulator.async_requests import AsyncRequest, WebhookAttempt
from airflow_provider_baseten.emulator.clock import Clock, timestamp
from airflow_provider_baseten.emulator.deployments import Limits
from airflow_provider_baseten.emulator.faults import Faults

_ATTEMPTS = 2
_RETRIED = {500, 502, 503, 504}
_AT_ONCE = 256


def sign(body: bytes, secrets: Sequence[str]) -> str:
    """Return the value of ``X-BASETEN-SIGNATURE``: one item for each secret, in their order."""
    digests = (hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join(f"v1={digest}" for digest in digests)


def payload(request: AsyncRequest, data: Any, now: float) -> bytes:
    """Return the body of a webhook.

    :param request: the request, finished.
    :param data: the model's output.
    :param now: seconds since the epoch.
    """
    content = {
        "request_id": request.request_id,
        f"{request.kind}_id": request.target,
        "deployment_id": request.deployment_id,
        "type": "async_request_completed",
        "time": timestamp(now),
        "data": data,
        "errors": [error.as_json() for error in request.errors],
    }
    return json.dumps(content, separators=(",", ":")).encode()


class Webhooks:
    """Delivers webhooks.

    Those in ``secrets`` sign them, the newest first; without any they are not signed.

    :param limits: times.
    :param clock: where time comes from.
    :param faults: what is to go wrong.
    """

    def __init__(self, limits: Limits, clock: Clock, faults: Faults) -> None:
        self.secrets: Sequence[str] = ()
        self._limits = limits
        self._clock = clock
        self._faults = faults
        self._permits = asyncio.Semaphore(_AT_ONCE)

    async def deliver(self, request: AsyncRequest, data: Any) -> bool:
        """Deliver the output of a request, and note every attempt in it; return whether the receiver took it.

        :param request: the request, finished.
        :param data: the model's output.
        """
        body = payload(request, data, self._clock.now())
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self._clock.sleep(self._limits.webhook_retry_seconds)
            status = await self._attempt(request, body)
            if status not in _RETRIED:
                return status is not None and 200 <= status < 300
        return False

    def stop(self) -> None:
        """Forget who waits to deliver."""
        self._permits = asyncio.Semaphore(_AT_ONCE)  # It belongs to the event loop that it was used in.

    async def _attempt(self, request: AsyncRequest, body: bytes) -> int | None:
        fault = self._faults.take(Address(request.kind, request.target, "webhook"), "POST")
        if fault is not None and fault.delay:
            await self._clock.sleep(fault.delay)
        replaced = fault is not None and fault.replaces_answer
        sent = fault is None or not replaced or fault.after_model
        at = self._clock.now()
        status = await self._post(request, body) if sent else None
        if fault is not None and replaced:
            status = fault.status
        request.webhook_attempts.append(WebhookAttempt(at, sent, status))
        return status

    async def _post(self, request: AsyncRequest, body: bytes) -> int | None:
        """Return the receiver's status, ``None`` when it did not answer; redirects are not followed."""
        headers = {"Content-Type": "application/json", "X-BASETEN-REQUEST-ID": request.request_id}
        if self.secrets:
            headers["X-BASETEN-SIGNATURE"] = sign(body, self.secrets)
        call = httpx.Request("POST", request.webhook_endpoint or "", headers=headers, content=body)
        verify: ssl.SSLContext | bool = self._ssl_context if call.url.scheme == "https" else False
        try:
            async with (
                self._permits,
                self._clock.timeout(self._limits.webhook_seconds),
                httpx.AsyncHTTPTransport(verify=verify, trust_env=False) as transport,
            ):
                response = await transport.handle_async_request(call)
                await response.aread()
                return response.status_code
        except (httpx.HTTPError, OSError, ValueError, OverflowError):  # Also a port that there is not, or a timeout.
            return None

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()
