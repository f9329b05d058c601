"""Mounts the receiver in Airflow's API server. Every Airflow process imports this, so it loads nothing."""

import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

PREFIX = "/baseten"

_log = logging.getLogger(__name__)


async def receiver(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request; see :mod:`airflow_provider_baseten.webhook.app`."""
    await _app()(scope, receive, send)


class BasetenPlugin(AirflowPlugin):
    """``POST /baseten/webhooks/{conn_id}`` in the API server, without a login: deliveries are signed."""

    name = "baseten"
    fastapi_apps = [{"app": receiver, "url_prefix": PREFIX, "name": "Baseten webhooks"}]  # noqa: RUF012 - Airflow's form.

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Check settings and Airflow itself when Airflow starts, not when the first result arrives.

        What is missing in Airflow is logged: a plugin that raises is left out, and the receiver with it.

        :raises ValueError: ``[baseten] webhook_max_body_bytes`` is not a number of bytes.
        """
        from airflow_provider_baseten.compat import secrets_backends

        _max_body_bytes()
        if secrets_backends() is None:
            _log.error(
                "This version of Airflow does not tell the Baseten provider where connections are kept: while one of "
                "these places is down, deliveries for connections that were not used before are refused. Look for a "
                "newer version of airflow-provider-baseten."
            )


@cache
def _app() -> Callable[[Any, Any, Any], Awaitable[None]]:
    from airflow_provider_baseten.webhook.app import MAX_BODY_BYTES, create_app
    from airflow_provider_baseten.webhook.connections import Cached, of_airflow

    return create_app(Cached(of_airflow), max_body_bytes=_max_body_bytes() or MAX_BODY_BYTES)


def _max_body_bytes() -> int | None:
    from airflow.providers.common.compat.sdk import conf

    value = conf.get("baseten", "webhook_max_body_bytes", fallback=None)
    if not value:
        return None
    if not value.strip().isdecimal() or not int(value):
        raise ValueError("[baseten] webhook_max_body_bytes is not a number of bytes; no webhooks are received.")
    return int(value)
