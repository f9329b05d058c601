"""Run of all checks of an installation, in the order in which one depends on the other."""

from collections.abc import Iterator

from airflow_provider_baseten import config
from airflow_provider_baseten.checks import clock, connection, delivery, hosts, key, receiver, registration, versions
from airflow_provider_baseten.checks import result_store as store_check
from airflow_provider_baseten.checks.result import CheckResult, failed, skipped
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.storage.result_store import ResultStore

_OF_CONNECTION = ("proxy", "host", "key", "clock", "result store", "receiver", "test delivery")


def run_checks(conn_id: str = DEFAULT_CONN_ID) -> Iterator[CheckResult]:
    """Check what this process needs to work with Baseten, and yield each result as soon as it is known.

    The checks call no model and cost nothing. The only traces are in logs: the files that are written to the result
    store are deleted. If the process dies, the result store responds too late, or the webhook receiver writes to
    another store, small files whose names begin with ``airflow-check-`` may remain.

    Each network step has a time limit of 10 to 30 seconds, and the test of the keys one of 80 seconds. Only the lookup
    of the connection has the time limits of Airflow's database or secrets backend. Without it, a run in which
    everything hangs takes at most seven minutes.

    :param conn_id: id of the Airflow connection, by default ``baseten_default``.
    """
    yield versions.judge_versions(versions.observe_versions())
    registered = registration.observe_registration()
    yield registration.judge_provider(registered)
    yield registration.judge_plugin(registered)
    found = connection.observe_connection(conn_id)
    yield connection.judge_connection(found)
    if found.connection is None or found.credentials is None:
        for name in _OF_CONNECTION:
            yield skipped(name, "There is no usable connection.")
        return
    secrets = (found.connection.api_key, found.connection.management_api_key, *found.connection.webhook_secrets)
    for result in _check_connection(found.connection, found.credentials):
        yield result.redacted(secrets)


def _check_connection(found: BasetenConnection, credentials: Credentials) -> Iterator[CheckResult]:
    endpoint, problem = receiver.parse_endpoint(found.webhook_endpoint)
    urls = hosts.called_urls(credentials, endpoint.shown if endpoint else None)
    yield from hosts.judge_proxies([hosts.observe_proxy(url) for url in urls])
    states = []
    for host in hosts.hosts_to_try(credentials):
        states.append(hosts.observe_host(host, credentials))
        yield hosts.judge_host(states[-1])
    management = states[-1]
    if management.obstacle:
        yield skipped("key", f"{management.host.url} can't be reached.")
    else:
        yield from key.judge_keys(key.observe_keys(credentials))
    timed = next((state for state in reversed(states) if state.server_ahead is not None), management)
    yield _check_clock(timed)
    store, store_result = _check_store(found.result_store)
    yield store_result
    if endpoint is None:
        yield receiver.judge_endpoint(problem)
        reason = "The webhook endpoint is not valid." if problem else "There is no webhook endpoint to deliver to."
        yield skipped("test delivery", reason)
        return
    health = receiver.call("GET", endpoint.health_url) if endpoint.health_url else None
    yield receiver.judge_health(endpoint, health)
    reason = receiver.why_no_delivery(health)
    if reason:
        yield skipped("test delivery", reason)
    elif store is None:
        reason = "The delivery could not be found, because the result store does not work here."
        yield skipped("test delivery", reason)
    else:
        yield _check_delivery(found, endpoint, store, timed.server_ahead or 0.0)


def _check_store(uri: str | None) -> tuple[ResultStore | None, CheckResult]:
    """Check a result store; return it, ``None`` if it does not work, and the result."""
    try:
        store = ResultStore(uri)
    except BasetenInputError as error:
        return None, failed("result store", str(error), "Correct [baseten] result_store wherever Airflow runs.")
    state = store_check.observe_store(store)
    return None if state.problem else store, store_check.judge_store(state)


def _check_clock(state: hosts.HostState) -> CheckResult:
    if state.obstacle:
        return skipped("clock", f"{state.host.url}, whose clock would be compared, can't be reached.")
    try:
        tolerance = config.WEBHOOK_TOLERANCE_SECONDS.get()
    except BasetenInputError as error:  # The plugin reports it too.
        return skipped("clock", str(error))
    return clock.judge_clock(state.host.url, state.server_ahead, tolerance)


def _check_delivery(
    found: BasetenConnection, endpoint: receiver.WebhookEndpoint, store: ResultStore, server_ahead: float
) -> CheckResult:
    if not found.webhook_secrets and not found.allow_unsigned_webhooks:
        return skipped(
            "test delivery",
            "The connection has no webhook_secrets to sign a delivery with.",
            "Enter them, unless only the standalone receiver has them, in BASETEN_WEBHOOK_SECRETS.",
        )
    secret = next(iter(found.webhook_secrets), "")
    state = delivery.observe_delivery(endpoint, secret, store, server_ahead=server_ahead)
    return delivery.judge_delivery(endpoint, found, state)
