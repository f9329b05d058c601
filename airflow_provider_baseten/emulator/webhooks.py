"""Webhooks: HTTP requests that deliver the outputs of async requests."""

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
from airflow_provider_baseten.emulator.faults import Faults
from airflow_provider_baseten.emulator.limits import Limits

_MAX_ATTEMPTS = 2
_RETRIED_STATUSES = {500, 502, 503, 504}
_MAX_CONCURRENT_DELIVERIES = 256


def sign(body: bytes, secrets: Sequence[str]) -> str:
    """Return the value of the header ``X-BASETEN-SIGNATURE``: a signature for each secret, in the order of the secrets.

    :param body: body of the webhook.
    :param secrets: secrets that sign the body.
    """
    digests = (hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join(f"v1={digest}" for digest in digests)


def make_webhook_body(request: AsyncRequest, data: Any, now: float) -> bytes:
    """Return the body of a webhook.

    :param request: async request whose last model run has ended.
    :param data: output of the model, ``None`` if the model failed.
    :param now: current time in seconds since the epoch.
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
    """Sender of webhooks.

    :param limits: time limits.
    :param clock: source of time.
    :param faults: faults to inject into the deliveries.
    """

    def __init__(self, limits: Limits, clock: Clock, faults: Faults) -> None:
        #: Secrets that sign webhooks, the newest first. If empty, webhooks are not signed.
        self.secrets: Sequence[str] = ()
        self._limits = limits
        self._clock = clock
        self._faults = faults
        self._deliveries = asyncio.Semaphore(_MAX_CONCURRENT_DELIVERIES)

    async def deliver(self, request: AsyncRequest, data: Any) -> bool:
        """Deliver the output or the error of a request, record each attempt, and return whether the delivery succeeded.

        :param request: async request whose last model run has ended.
        :param data: output of the model, ``None`` if the model failed.
        """
        body = make_webhook_body(request, data, self._clock.now())
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                await self._clock.sleep(self._limits.webhook_retry_seconds)
            status = await self._attempt(request, body)
            if status not in _RETRIED_STATUSES:
                return status is not None and 200 <= status < 300
        return False

    def stop(self) -> None:
        """Prepare for a restart: replace the semaphore that limits concurrent deliveries.

        A semaphore belongs to one event loop, and a restart creates another event loop.
        """
        self._deliveries = asyncio.Semaphore(_MAX_CONCURRENT_DELIVERIES)

    async def _attempt(self, request: AsyncRequest, body: bytes) -> int | None:
        fault = self._faults.take(Address(request.kind, request.target, "webhook"), "POST")
        if fault is not None and fault.delay:
            await self._clock.sleep(fault.delay)
        is_replaced = fault is not None and fault.replaces_response
        is_sent = fault is None or not is_replaced or fault.after_model
        attempted_at = self._clock.now()
        status = await self._post(request, body) if is_sent else None
        if fault is not None and is_replaced:
            status = fault.status
        request.webhook_attempts.append(WebhookAttempt(attempted_at, is_sent, status))
        return status

    async def _post(self, request: AsyncRequest, body: bytes) -> int | None:
        """Send the webhook, without following redirects. Return the HTTP status, ``None`` if there was no response."""
        headers = {"Content-Type": "application/json", "X-BASETEN-REQUEST-ID": request.request_id}
        if self.secrets:
            headers["X-BASETEN-SIGNATURE"] = sign(body, self.secrets)
        call = httpx.Request("POST", request.webhook_endpoint or "", headers=headers, content=body)
        verify: ssl.SSLContext | bool = self._ssl_context if call.url.scheme == "https" else False
        try:
            async with (
                self._deliveries,
                self._clock.timeout(self._limits.webhook_seconds),
                httpx.AsyncHTTPTransport(verify=verify, trust_env=False) as transport,
            ):
                response = await transport.handle_async_request(call)
                await response.aread()
                return response.status_code
        except (httpx.HTTPError, OSError, ValueError, OverflowError):
            # ValueError and OverflowError are raised for an invalid port.
            return None

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()
