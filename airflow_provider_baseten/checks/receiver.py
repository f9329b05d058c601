"""Webhook receiver: whether it responds, and what it reports of itself."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
import urllib3.exceptions

from airflow_provider_baseten.api.async_predict import checked_webhook_endpoint
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.arguments import shown
from airflow_provider_baseten.checks.network import NO_ADVICE, STEP_SECONDS, Obstacle, Step, reach
from airflow_provider_baseten.checks.result import CheckResult, failed, ok, skipped
from airflow_provider_baseten.client.ca_bundle import ca_bundle
from airflow_provider_baseten.client.connection_errors import blocking_failure
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.client.wire import USER_AGENT
from airflow_provider_baseten.exceptions import BasetenInputError

_NAME = "receiver"
_PATH = re.compile(r"(.*)/webhooks/([^/]+)")
_MAX_BYTES = 65536
FIELD = "webhook_endpoint of the connection"


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Webhook endpoint of a connection.

    :param url: its URL.
    :param shown: its URL for messages, without credentials and query.
    :param health_url: URL of the receiver's health; empty if the path is not that of this package's receiver.
    :param conn_id: id of the connection in the path; empty if the path is not that of this package's receiver.
    """

    url: str
    shown: str
    health_url: str
    conn_id: str


@dataclass(frozen=True, slots=True)
class ReceiverResponse:
    """Response of the webhook endpoint's server.

    :param status: HTTP status.
    :param fields: the JSON object in the body; ``None`` if the body is something else.
    """

    status: int
    fields: Mapping[str, Any] | None


def parse_endpoint(url: str | None) -> tuple[WebhookEndpoint | None, str]:
    """Return the webhook endpoint and an empty string, or ``None`` and why there is none.

    :param url: its URL; ``None`` if the connection has none, for which the reason is empty too.
    """
    if url is None:
        return None, ""
    try:
        parts = urlsplit(checked_webhook_endpoint(url))
    except BasetenInputError as error:
        return None, str(error)
    origin = _origin(parts)
    path = _PATH.fullmatch(parts.path)
    health_url = f"{origin}{path[1]}/health" if path else ""
    return WebhookEndpoint(url, f"{origin}{parts.path}", health_url, path[2] if path else ""), ""


def judge_endpoint(problem: str) -> CheckResult:
    """Return the result for a connection without a valid webhook endpoint.

    :param problem: why the endpoint is not valid; empty if the connection has none.
    """
    if problem:
        return failed(_NAME, problem, f"Correct {FIELD}.")
    return skipped(_NAME, "The connection has no webhook_endpoint, which outputs of async requests need.")


def call(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> ReceiverResponse | Obstacle:
    """Send a request to the webhook endpoint's server, without an API key; by the rules of real calls for proxies and
    the CA bundle. Redirects are not followed.
    """
    return reach(url, lambda: _send(method, url, headers or {}, body))


def judge_health(endpoint: WebhookEndpoint, health: ReceiverResponse | Obstacle | None) -> CheckResult:
    """Judge the receiver by its health.

    A response that is not the receiver's is no failure, because a proxy may pass on only the path for deliveries.

    :param health: the receiver's health; ``None`` if the path of the endpoint is not that of a receiver.
    """
    if health is None:
        return skipped(
            _NAME, f"The path of {endpoint.shown} does not end in /webhooks/CONNECTION, so it has no known health."
        )
    if isinstance(health, Obstacle):
        if health.step is Step.PROXY_VARIABLE:
            return skipped(_NAME, f"{endpoint.shown}: the proxy is not known.")
        return failed(
            _NAME,
            health.message(endpoint.shown),
            f"{health.advice(endpoint.shown, FIELD)} If only Baseten is meant to reach it, run the check on a machine "
            "that can.",
        )
    if health.status >= 500:
        return failed(
            _NAME,
            f"{endpoint.health_url} responds with {health.status}: the receiver fails, or a proxy can't reach it.",
            "Start Airflow's API server or the standalone receiver, and read its log.",
        )
    if health.status != 200 or health.fields is None or "status" not in health.fields:
        what = f"with {health.status}" if health.status != 200 else "with a page"
        return skipped(
            _NAME, f"{endpoint.health_url} responds {what}, not as a receiver; a proxy may pass on only deliveries."
        )
    return _judge_fields(endpoint, health.fields)


def why_no_delivery(health: ReceiverResponse | Obstacle | None) -> str:
    """Return why a test delivery would not be stored; empty if nothing speaks against it.

    :param health: the receiver's health; ``None`` if it is not known.
    """
    if health is None:
        return ""
    if isinstance(health, Obstacle) or health.status >= 500:
        return "The receiver can't be reached."
    if (health.fields or {}).get("clock") == "off":
        return "The clock of the receiver's machine is off, so that the receiver might refuse the delivery."
    return ""


def spooled(health: ReceiverResponse | Obstacle | None) -> int:
    """Return the number of results that the receiver could not store yet."""
    number = (health.fields or {}).get("spooled") if isinstance(health, ReceiverResponse) else None
    return number if isinstance(number, int) else 0


def _judge_fields(endpoint: WebhookEndpoint, fields: Mapping[str, Any]) -> CheckResult:
    state = ", ".join(f"{name} {shown(fields.get(name))}" for name in ("status", "clock", "spooled", "held"))
    message = f"{endpoint.health_url} responds: {state}."
    if fields.get("clock") == "off":
        return failed(_NAME, message, "Correct the clock of the receiver's machine, for example with NTP.")
    if fields.get("held"):
        return failed(
            _NAME,
            message,
            "The receiver holds results whose time is too far from its clock: see Clock skew in the documentation of "
            "the webhook receiver.",
        )
    if fields.get("status") != "ok":
        return failed(
            _NAME, message, "Check that the receiver's user can write its spool, [baseten] webhook_spool, and its log."
        )
    if fields.get("spooled"):
        return ok(
            _NAME, message, "Spooled results wait until the receiver's result store works: read the receiver's log."
        )
    return ok(_NAME, message)


def _send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> ReceiverResponse:
    parts = urlsplit(url)
    request = Request(method=method, host="", path=parts.path, subject="The request", advice=NO_ADVICE)
    proxy, bundle = proxy_for(url), ca_bundle()
    with requests.Session() as session:
        # Keeps requests from sending an entry of ~/.netrc, and from its own rules for proxies.
        session.trust_env = False
        try:
            with session.request(
                method,
                url,
                headers={"User-Agent": USER_AGENT, **headers},
                data=body,
                timeout=STEP_SECONDS,
                proxies={"http": proxy, "https": proxy} if proxy else {},
                verify=bundle[0] if bundle else True,
                allow_redirects=False,
                stream=True,
            ) as response:
                return ReceiverResponse(
                    response.status_code, _object(response.raw.read(_MAX_BYTES, decode_content=True))
                )
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise blocking_failure(request, error, origin=_origin(parts), timeout=STEP_SECONDS) from None


def _origin(parts: SplitResult) -> str:
    """Return scheme, host and port of a URL, without credentials."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
