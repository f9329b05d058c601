"""Errors of connections: functions that turn the exceptions of the HTTP libraries into this package's errors."""

import pyreqwest.exceptions
import requests
import urllib3.exceptions

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)

# Words of OpenSSL and of rustls for a server that responds to TLS with something else, for example HTTP.
_NO_TLS = ("WRONG_VERSION_NUMBER", "InvalidContentType")


def blocking_failure(
    request: Request, error: requests.RequestException | urllib3.exceptions.HTTPError, *, origin: str, timeout: float
) -> BasetenError:
    """Return the error for an exception of the library ``requests``.

    :param origin: scheme, host and port of the server.
    :param timeout: seconds for which a response was waited for.
    """
    reason = error if isinstance(error, urllib3.exceptions.HTTPError) else next(iter(error.args), None)
    if isinstance(error, requests.exceptions.SSLError):
        return tls_failed(request, getattr(reason, "reason", reason))
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return not_connected(request, origin, "no response", timeout=True)
    if isinstance(error, requests.exceptions.ReadTimeout) or isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return timed_out(request, timeout)
    if isinstance(reason, urllib3.exceptions.MaxRetryError):
        return not_connected(request, origin, reason.reason)
    return connection_lost(request, origin, error)


def async_failure(
    request: Request, error: pyreqwest.exceptions.PyreqwestError, *, origin: str, timeout: float
) -> BasetenError:
    """Return the error for an exception of pyreqwest; the parameters are those of :func:`blocking_failure`."""
    details = getattr(error, "details", None) or {}
    causes = [cause["message"] for cause in details.get("causes") or []]
    reason = causes[-1] if causes else str(error)
    if any(words in reason for words in ("certificate", *_NO_TLS)):
        return tls_failed(request, reason)
    # The cause "client error (Connect)" proves that the request was not sent. The types ConnectError and
    # ConnectTimeoutError do not prove it, because pyreqwest may also raise them after the request was sent.
    if "client error (Connect)" in causes:
        is_timeout = isinstance(error, pyreqwest.exceptions.RequestTimeoutError)
        return not_connected(request, origin, "no response" if is_timeout else reason, timeout=is_timeout)
    if isinstance(error, pyreqwest.exceptions.RequestTimeoutError):
        return timed_out(request, timeout)
    return connection_lost(request, origin, error)


def tls_failed(request: Request, reason: object) -> BasetenError:
    """Return the error for a TLS handshake that failed, so that nothing was sent."""
    if any(words in str(reason) for words in _NO_TLS):
        return BasetenUnavailableError(
            f"{request.subject} was not sent: the server does not speak TLS at this port ({_short(reason)}). "
            "Check the port, and whether the URL has to begin with http instead of https.",
            retryable=False,
        )
    return BasetenUnavailableError(
        f"{request.subject} was not sent: the server's certificate is not trusted ({_short(reason)}). "
        "Name your CA bundle in REQUESTS_CA_BUNDLE. From Python 3.13 on, its certificates need the extensions of "
        "RFC 5280.",
        retryable=False,
    )


def not_connected(request: Request, origin: str, reason: object, *, timeout: bool = False) -> BasetenError:
    """Return the error for a server that can't be reached, so that nothing was sent.

    :param origin: scheme, host and port of the server.
    :param timeout: whether connecting took too long.
    """
    kind = BasetenTimeoutError if timeout else BasetenUnavailableError
    return kind(
        f"{request.subject} was not sent: {origin} can't be reached ({_short(reason)}). "
        "Check the Host (the Base URL) of the connection, the network and the proxy settings."
    )


def timed_out(request: Request, read_timeout: float) -> BasetenError:
    """Return the error for a request that was sent, but got no response in time.

    :param read_timeout: seconds for which a response was waited for.
    """
    return BasetenTimeoutError(
        f"{request.subject} was sent, but no response came within {read_timeout:g} s."
        f"{_may_run(request)} {request.advice.after_timeout}",
        may_have_run=bool(request.advice.may_run),
    )


def connection_lost(request: Request, origin: str, error: Exception) -> BasetenError:
    """Return the error for a connection that ended before the whole response had arrived.

    :param origin: scheme, host and port of the server.
    """
    return BasetenUnavailableError(
        f"{request.subject} was sent to {origin}, but the connection was lost before the whole response had arrived "
        f"({type(error).__name__}).{_may_run(request)} {request.advice.after_loss}",
        may_have_run=bool(request.advice.may_run),
    )


def _may_run(request: Request) -> str:
    return f" {request.advice.may_run}" if request.advice.may_run else ""


def _short(reason: object) -> str:
    # urllib3 wraps the error of a proxy: its arguments are a text and the error.
    inner = getattr(reason, "original_error", None)
    text = f"{reason.args[0]}: {inner}" if inner and isinstance(reason, Exception) else str(reason)
    return f"{text[:197]}..." if len(text) > 200 else text
