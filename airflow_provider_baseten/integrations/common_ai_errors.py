"""Errors of models that the common AI provider calls: each is an error of pydantic-ai and one of this package."""

from dataclasses import replace
from typing import Any

from pydantic_ai.exceptions import ModelAPIError

from airflow_provider_baseten.api.errors import error_for, quotable
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.client.connection_errors import connection_lost, not_connected, timed_out, tls_failed
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.client.openai_sdk import NOT_SENT
from airflow_provider_baseten.exceptions import BasetenError, BasetenModelError


def as_baseten_error(error: ModelAPIError, request: Request, credentials: Credentials) -> ModelAPIError:
    """Return an error with the type and the message of this package that is still an error of pydantic-ai.

    A chain of fallbacks goes on only after errors of pydantic-ai. A
    :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy` decides only on errors of this package.

    :param error: error of pydantic-ai, raised from an exception of the OpenAI SDK.
    :param request: request that represents the call.
    """
    found = _find(error, credentials.prepared(request), credentials)
    kind, other = type(found), type(error)
    # The constructors of the two types take different arguments, so the fields are set without them. A copy in another
    # process is an error of this package only, since pydantic-ai has types that can't be found by name there.
    members = {
        "__init__": Exception.__init__,
        "__reduce__": lambda self: (kind, self.args, vars(self)),
        "__module__": kind.__module__,
    }
    both: ModelAPIError = type(kind.__name__, (kind, other), members)(*found.args)
    vars(both).update(vars(error) | vars(found) | {"message": str(found)})
    return both


def _find(error: ModelAPIError, request: Request, credentials: Credentials) -> BasetenError:
    """Return the error of this package for what the SDK has raised."""
    cause: Any = error.__cause__
    sent: Any = getattr(cause, "request", None)
    if sent is not None:
        # Errors replace passages that repeat the body.
        request = replace(request, body=sent.content)
    if response := getattr(cause, "response", None):
        found = error_for(
            Response(request=request, status=response.status_code, headers=response.headers, body=response.content)
        )
        if found is not None:
            return found
    reason = getattr(cause, "__cause__", None)
    origin = credentials.origin(request.host)
    if isinstance(reason, NOT_SENT):
        if "[SSL" in str(reason):
            return tls_failed(request, reason)
        return not_connected(request, origin, reason)
    if reason is not None and "Timeout" in type(reason).__name__:
        return timed_out(request, sent.extensions["timeout"]["read"] or credentials.timeout)
    if reason is not None:
        return connection_lost(request, origin, reason)
    text = quotable(str(getattr(cause, "message", error)), request)
    return BasetenModelError(f"{request.subject} ended with an error{f': {text}' if text else ''}.", may_have_run=True)
