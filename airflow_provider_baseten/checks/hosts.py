"""Hosts that real calls go to: the proxy for each, and whether each responds."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import getproxies_environment

from airflow_provider_baseten.api.http import MANAGEMENT_HOST, MAX_STATUS_BYTES, Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.target import MODEL_APIS_HOST
from airflow_provider_baseten.checks.clock import read_server_time
from airflow_provider_baseten.checks.network import (
    NO_ADVICE,
    STEP_SECONDS,
    Obstacle,
    Step,
    find_proxy,
    reach,
    without_credentials,
)
from airflow_provider_baseten.checks.result import CheckResult, failed, ok, skipped
from airflow_provider_baseten.client.credentials import MANAGEMENT_URL, Credentials

_ANY_STATUS = frozenset(range(100, 600))
# Statuses of a proxy that does not pass the request on, and of a gateway whose server does not run.
_DOWN = {407, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Host:
    """A host that real calls go to.

    :param label: label of the host in :class:`~airflow_provider_baseten.api.http.Request`; empty for the base URL.
    :param url: its URL.
    :param field: field of the connection with the URL; empty for Baseten's own hosts.
    """

    label: str
    url: str
    field: str


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """Way to a host.

    :param url: URL of the host.
    :param proxy: proxy without its credentials; ``None`` for a direct connection.
    :param is_exempt: whether ``NO_PROXY`` covers the host, so that a configured proxy is not used.
    :param obstacle: error of a variable that is not valid.
    """

    url: str
    proxy: str | None
    is_exempt: bool = False
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """Result of a request to a host.

    :param host: the host.
    :param obstacle: why there was no response; ``None`` if there was one.
    :param server_ahead: seconds that the server's clock is ahead of this machine's; ``None`` if not known.
    """

    host: Host
    obstacle: Obstacle | None
    server_ahead: float | None = None


def called_urls(credentials: Credentials, webhook_endpoint: str | None) -> list[str]:
    """Return the URLs of all hosts that calls with these credentials go to, and that of the webhook endpoint's host.

    :param webhook_endpoint: URL that only the checks call from here.
    """
    models = [credentials.base_url] if credentials.base_url else [credentials.host_url("model-ID")]
    apis = [] if credentials.base_url else [credentials.host_url(MODEL_APIS_HOST)]
    endpoints = ["/".join(webhook_endpoint.split("/", 3)[:3])] if webhook_endpoint else []
    return list(dict.fromkeys([*models, *apis, credentials.host_url(MANAGEMENT_HOST), *endpoints]))


def hosts_to_try(credentials: Credentials) -> list[Host]:
    """Return the hosts that respond without an id of a model: the base URL and the management API."""
    url = credentials.host_url(MANAGEMENT_HOST)
    management = Host(MANAGEMENT_HOST, url, "" if url == MANAGEMENT_URL else "management_url of the connection")
    if credentials.base_url is None:
        return [management]
    base = Host("", credentials.base_url, "the Host (the Base URL) of the connection")
    return [base] if base.url == management.url else [base, management]


def observe_proxy(url: str) -> ProxyChoice:
    """Return the way to a host, by the rules of real calls. This reads environment variables only."""
    proxy, obstacle = find_proxy(url)
    proxies = getproxies_environment()
    is_exempt = proxy is None and bool(proxies.get(url.partition(":")[0]) or proxies.get("all"))
    return ProxyChoice(url, without_credentials(proxy) if proxy else None, is_exempt and not obstacle, obstacle)


def judge_proxies(choices: list[ProxyChoice]) -> Iterator[CheckResult]:
    """Report the ways to all hosts, one result for all hosts with the same way."""
    urls: dict[tuple[str | None, bool, Obstacle | None], list[str]] = {}
    for choice in choices:
        urls.setdefault((choice.proxy, choice.is_exempt, choice.obstacle), []).append(choice.url)
    for (proxy, is_exempt, obstacle), those in urls.items():
        names = " and ".join(filter(None, (", ".join(those[:-1]), those[-1])))
        if obstacle:
            yield failed("proxy", f"{names}: {obstacle.reason}", obstacle.advice(those[0], ""))
        elif proxy:
            yield ok("proxy", f"{names}: through the proxy {proxy}.")
        else:
            reason = "NO_PROXY covers the host" if is_exempt else "no proxy is set for this process"
            yield ok("proxy", f"{names}: direct, {reason}.")


def observe_host(host: Host, credentials: Credentials) -> HostState:
    """Send a request to a host as real calls do, with their HTTP client. Any response of the host itself will do."""
    from airflow_provider_baseten.client.client import Client

    request = Request(
        method="GET",
        host=host.label,
        path="/v1/users/me" if host.label else "",
        subject="The request",
        allowed_statuses=_ANY_STATUS,
        max_response_bytes=MAX_STATUS_BYTES,
        advice=NO_ADVICE,
    )

    def call() -> tuple[Response, float | None]:
        with Client(credentials.with_options(timeout=STEP_SECONDS, max_attempts=1)) as client:
            return read_server_time(lambda: client.send(request))

    reached = reach(host.url, call)
    if isinstance(reached, Obstacle):
        return HostState(host, reached)
    response, server_ahead = reached
    step = Step.PROXY if response.status == 407 else Step.HTTP
    down = Obstacle(step, f"The response has the status {response.status}.") if response.status in _DOWN else None
    return HostState(host, down, server_ahead)


def judge_host(state: HostState) -> CheckResult:
    """Judge whether a host responds, and name the step that fails."""
    url = state.host.url
    if state.obstacle and state.obstacle.step is Step.PROXY_VARIABLE:
        return skipped("host", f"{url}: the proxy is not known.")
    if state.obstacle:
        return failed("host", state.obstacle.message(url), state.obstacle.advice(url, state.host.field))
    return ok("host", f"{url} responds.")
