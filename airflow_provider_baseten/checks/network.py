"""Way to a host: the proxy, DNS, TCP, TLS and HTTP. The step that fails is named, with what to do."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.checks.time_limit import within
from airflow_provider_baseten.client.proxies import proxy_for
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenUnavailableError

T = TypeVar("T")

#: No advice, because each result has its own, and no warning that a model may have run.
NO_ADVICE = Advice(after_timeout="", after_loss="")
#: Time limit of each network step in seconds, as for the connections of real calls.
STEP_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}


class Step(StrEnum):
    """Step of the way to a host."""

    PROXY_VARIABLE = "proxy variable"
    CA_BUNDLE = "CA bundle"
    DNS = "DNS"
    TCP = "TCP"
    PROXY = "proxy"
    TLS = "TLS"
    HTTP = "HTTP"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Reason why there was no response from a host.

    :param step: the step that failed.
    :param reason: what failed, in words.
    :param proxy: proxy on the way, without its credentials; ``None`` for a direct connection.
    """

    step: Step
    reason: str
    proxy: str | None = None

    def message(self, url: str) -> str:
        """Return a sentence that names the host and the step.

        :param url: URL of the host.
        """
        if self.step in {Step.PROXY_VARIABLE, Step.CA_BUNDLE}:
            return self.reason
        way = f" through the proxy {self.proxy}" if self.proxy else ""
        return f"{url} can't be reached{way}: {self.step} failed. {self.reason}"

    def advice(self, url: str, field: str) -> str:
        """Return what to do.

        :param url: URL of the host.
        :param field: field with the URL, such as ``webhook_endpoint of the connection``; empty for Baseten's own hosts.
        """
        variable = "HTTP_PROXY" if url.startswith("http:") else "HTTPS_PROXY"
        if self.step in {Step.DNS, Step.TCP} and self.proxy:
            return (
                f"Check the address of the proxy in {variable} or ALL_PROXY, and that the proxy runs. If the host is "
                "reached without a proxy, add it to NO_PROXY."
            )
        prefix = f"Check {field}. " if field and self.step in _STEPS_OF_FIELD else ""
        return f"{prefix}{_ADVICE[self.step].format(variable=variable)}"


# Steps that may fail because the URL is wrong.
_STEPS_OF_FIELD = {Step.DNS, Step.TCP, Step.TLS, Step.HTTP}
_ADVICE = {
    Step.PROXY_VARIABLE: "Correct the environment variable, here and wherever Airflow runs with it.",
    Step.CA_BUNDLE: "Correct the environment variable, here and wherever Airflow runs with it.",
    Step.DNS: "Check the DNS of this machine or cluster. Where only a proxy reaches the host, set {variable}.",
    Step.TCP: "Check that the server runs, and that firewalls let this machine connect to it. Where only a proxy "
    "reaches the host, set {variable}.",
    Step.PROXY: "Check the user and the password in the URL of the proxy, and that the proxy allows connections to "
    "this host. If the host is reached without a proxy, add it to NO_PROXY.",
    Step.TLS: "If the error is about the certificate of your own CA or of a proxy, name a PEM file with the CA's "
    "certificate in REQUESTS_CA_BUNDLE.",
    Step.HTTP: "Check what listens at this address, and read its log.",
}


def find_proxy(url: str) -> tuple[str | None, Obstacle | None]:
    """Return the URL of the proxy to a host and ``None``, or ``None`` and the error of a variable."""
    try:
        return proxy_for(url), None
    except BasetenInputError as error:
        return None, Obstacle(Step.PROXY_VARIABLE, str(error))


def without_credentials(proxy: str) -> str:
    """Return the URL of a proxy with ``***`` in place of user and password."""
    parts = urlsplit(proxy)
    user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if at and user else ''}{host}"


def reach(url: str, call: Callable[[], T]) -> T | Obstacle:
    """Return the response of a call to a host, or the reason why there is none.

    DNS and TCP are tried first, because the errors of HTTP libraries do not always distinguish them.

    :param url: URL of the host.
    :param call: function that calls the host, and raises a ``BasetenError`` if there is no response.
    """
    proxy, obstacle = find_proxy(url)
    if obstacle:
        return obstacle
    shown = without_credentials(proxy) if proxy else None
    obstacle = _find_obstacle(proxy or url, shown)
    if obstacle:
        return obstacle
    try:
        return within(2 * STEP_SECONDS, call)
    except TimeoutError as error:
        return Obstacle(Step.HTTP, f"There was {error}.", shown)
    except BasetenError as error:
        return Obstacle(failed_step(error, is_proxied=proxy is not None), str(error), shown)


def failed_step(error: BasetenError, *, is_proxied: bool) -> Step:
    """Return the step that an error of the HTTP client is about, once DNS and TCP have worked."""
    if isinstance(error, BasetenInputError):
        return Step.CA_BUNDLE
    if isinstance(error, BasetenUnavailableError):
        if not error.retryable:  # Only a certificate that is not trusted is not retried.
            return Step.TLS
        if is_proxied:
            return Step.PROXY
    return Step.HTTP


def _find_obstacle(url: str, proxy: str | None) -> Obstacle | None:
    """Resolve the name of a host or proxy, and connect to it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    try:
        within(STEP_SECONDS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        return Obstacle(Step.DNS, f"{host} does not resolve ({_words(error)}).", proxy)
    try:
        within(STEP_SECONDS, lambda: socket.create_connection((host, port), STEP_SECONDS).close())
    except OSError as error:
        return Obstacle(Step.TCP, f"There is no connection to port {port} of {host} ({_words(error)}).", proxy)
    return None


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
