"""Test delivery: a signed delivery to the webhook endpoint, which then has to appear in the result store here.

Its request id begins with ``airflow-check-``, and ids of Baseten are hexadecimal, so no task waits for it.
"""

import hmac
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from airflow_provider_baseten.checks.network import Obstacle
from airflow_provider_baseten.checks.receiver import FIELD, ReceiverResponse, WebhookEndpoint, call, spooled
from airflow_provider_baseten.checks.result import CheckResult, failed, ok
from airflow_provider_baseten.checks.time_limit import within
from airflow_provider_baseten.exceptions import BasetenResultStoreError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.delivery import TEST_PREFIX

_NAME = "test delivery"
_PREFIX_ADVICE = (
    "Baseten's webhook secrets begin with whsec_, which belongs to the secret, and one here does not: deliveries that "
    "are signed with another secret are refused."
)
# Time for which the delivery is looked for. A mounted folder may show a new file only after its cache has expired.
_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_STORE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """Result of a test delivery.

    :param request_id: its request id.
    :param response: response of the receiver, or why there is none.
    :param has_appeared: whether the delivery was found in the result store.
    :param health: the receiver's health after a delivery that has not appeared.
    :param problem: error of the result store; empty if there was none.
    """

    request_id: str
    response: ReceiverResponse | Obstacle
    has_appeared: bool = False
    health: ReceiverResponse | Obstacle | None = None
    problem: str = ""


def build_test_delivery(request_id: str, now: float) -> bytes:
    """Build the body of a delivery as Baseten sends it.

    :param now: Baseten's time, in seconds since the epoch.
    """
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    content = {
        "request_id": request_id,
        "model_id": "airflow-check",
        "deployment_id": "airflow-check",
        "type": "async_request_completed",
        "time": moment.replace("+00:00", "Z"),
        "data": {"sent_by": "airflow baseten check"},
        "errors": [],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def observe_delivery(
    endpoint: WebhookEndpoint, secret: str, store: ResultStore, *, server_ahead: float
) -> DeliveryState:
    """Deliver, look for the delivery in the result store, and delete it there.

    :param secret: secret to sign with; empty for no signature.
    :param server_ahead: seconds that Baseten's clock is ahead of this machine's. A delivery has Baseten's time.
    """
    request_id = f"{TEST_PREFIX}{uuid4().hex}"
    body = build_test_delivery(request_id, time.time() + server_ahead)
    headers = {"Content-Type": "application/json", "X-BASETEN-REQUEST-ID": request_id}
    if secret:
        digest = hmac.digest(secret.encode(errors="surrogatepass"), body, "sha256")
        headers["X-BASETEN-SIGNATURE"] = f"v1={digest.hex()}"
    deliveries = Deliveries(store)
    try:
        response = call("POST", endpoint.url, headers=headers, body=body)
        if not isinstance(response, ReceiverResponse) or not _is_accepted(response):
            return DeliveryState(request_id, response)
        has_appeared = _appears(deliveries, request_id)
        health = call("GET", endpoint.health_url) if endpoint.health_url and not has_appeared else None
        return DeliveryState(request_id, response, has_appeared, health)
    except (BasetenResultStoreError, TimeoutError) as error:
        return DeliveryState(request_id, response, problem=str(error))
    finally:
        with suppress(BasetenResultStoreError, TimeoutError):
            within(_STORE_SECONDS, lambda: deliveries.remove(request_id))


def judge_delivery(endpoint: WebhookEndpoint, connection: BasetenConnection, state: DeliveryState) -> CheckResult:
    """Judge the way from the webhook endpoint to the result store here.

    :param connection: the connection that is checked.
    """
    response = state.response
    if isinstance(response, Obstacle):
        return failed(_NAME, response.message(endpoint.shown), response.advice(endpoint.shown, FIELD))
    if not _is_accepted(response):
        reason, advice = _explain(endpoint, connection, response)
        return failed(_NAME, f"{endpoint.shown} responds to a delivery with {response.status}: {reason}.", advice)
    if state.problem:
        return failed(_NAME, f"The result store could not be read: {state.problem}", "Run the check again.")
    if state.has_appeared:
        return ok(
            _NAME,
            f"{endpoint.shown} has stored a delivery {_signed_with(connection)}, and it was found in the result store "
            "here.",
            _PREFIX_ADVICE if any(not secret.startswith("whsec_") for secret in connection.webhook_secrets) else "",
        )
    left = f"Its file is {state.request_id}.json, which you can delete."
    if (response.fields or {}).get("request_id") is None:
        return failed(
            _NAME,
            "The receiver accepted the delivery and has spooled it, because it can't look up the connection.",
            "Check Airflow's database and the secrets backends on the receiver's machine, and read the receiver's log. "
            f"The delivery is stored once the lookup works. {left}",
        )
    if spooled(state.health):
        return failed(
            _NAME,
            "The receiver accepted the delivery, but can't write to its result store, and has spooled it.",
            "Read the receiver's log, and check the rights of its user and its connections. The delivery is stored "
            f"once the store works. {left}",
        )
    return failed(
        _NAME,
        "The receiver accepted the delivery, but it did not appear in the result store here: the receiver writes to "
        "another store than this process reads, or the endpoint is that of a relay, which does not run.",
        "Enter one shared result store in the connection, or in [baseten] result_store on every machine, and the same "
        "for the standalone receiver (--result-store). A local folder is another one on each machine and in each "
        f"container. The delivery is in the store of the receiver, as {state.request_id}.json, which you can delete; "
        "with a relay, it comes into the store when the relay runs.",
    )


def _signed_with(connection: BasetenConnection) -> str:
    """Return which of the connection's secrets a test delivery is signed with."""
    number = len(connection.webhook_secrets)
    if number > 1:
        return f"signed with the first of {number} webhook_secrets"
    return "signed with the connection's secret" if number else "without a signature"


def _explain(endpoint: WebhookEndpoint, connection: BasetenConnection, response: ReceiverResponse) -> tuple[str, str]:
    """Return the reason why a delivery was not accepted, and what to do."""
    conn_id = connection.conn_id
    is_of_receiver = "error" in (response.fields or {})
    match response.status:
        case 401 if is_of_receiver and not connection.webhook_secrets:
            return "the delivery has no signature", (
                f"Connection '{conn_id}' has allow_unsigned_webhooks, but no webhook_secrets to sign with. The "
                "function of the relay requires a signature all the same: enter the secrets. A receiver accepts "
                "deliveries without one only if allow_unsigned_webhooks is set in its own connection "
                f"'{endpoint.conn_id or conn_id}'."
            )
        case 401 if is_of_receiver:
            return f"the receiver refuses the signature of a delivery {_signed_with(connection)}", (
                f"Check that {FIELD} is the URL of a receiver, that the receiver knows connection "
                f"'{endpoint.conn_id or conn_id}', and that its secret there, with the whsec_, is that of connection "
                f"'{conn_id}' here. The standalone receiver may have it in BASETEN_WEBHOOK_SECRETS."
            )
        case 403 if is_of_receiver:
            return "the time in it is too far from the receiver's clock", (
                "Correct the clock of the receiver's machine, for example with NTP, or that of this machine if its "
                "check was skipped. The receiver keeps nothing of the test delivery."
            )
        case 401 | 403:
            return "something before the receiver wants a login or blocks the request", (
                "Let requests pass to the path of the endpoint without a login: deliveries are signed."
            )
        case status if status < 300 or status in {404, 405}:
            return "there is no receiver at this path", (
                f"Check {FIELD}: https://HOST/baseten/webhooks/{conn_id}, where a path in [api] base_url comes before "
                "/baseten. If it is right, Airflow's API server has not loaded the plugin: install this package there, "
                "restart it, and run the check there."
            )
        case status if status < 400:
            return "a redirect", f"Enter the URL that it redirects to as {FIELD}: Baseten follows no redirects."
        case 503 if is_of_receiver:
            return "the receiver could neither store nor spool it", (
                "Read the receiver's log, and check its result store, its spool and its disk."
            )
    return "it was not accepted", "Read the logs of the receiver and of the proxy before it."


def _is_accepted(response: ReceiverResponse) -> bool:
    return response.status == 200 and "request_id" in (response.fields or {})


def _appears(deliveries: Deliveries, request_id: str) -> bool:
    until = time.monotonic() + _WAIT_SECONDS
    while not within(_STORE_SECONDS, lambda: deliveries.delivered([request_id])):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
