"""Mounts the receiver in Airflow's API server. Every Airflow process imports this, so it loads nothing."""

import logging
from functools import cache
from typing import Any

from airflow_provider_baseten.compat import AirflowPlugin

PREFIX = "/baseten"

_log = logging.getLogger(__name__)


async def receiver(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request; see :mod:`airflow_provider_baseten.webhook.app`."""
    await _app()(scope, receive, send)


def start_receiver(app: Any) -> Any:
    """Start what the receiver does in the background, when the API server starts; return its app as it is.

    Airflow has no event for that. It builds its stack of middleware in each process that serves, when this one starts.
    """
    try:
        _app().state.start()
    except Exception as error:
        _log.error("Spooled webhook deliveries are not stored: %s", error)
    return app


class BasetenPlugin(AirflowPlugin):
    """``POST /baseten/webhooks/{conn_id}`` in the API server, without a login: deliveries are signed."""

    name = "baseten"
    fastapi_apps = [{"app": receiver, "url_prefix": PREFIX, "name": "Baseten webhooks"}]  # noqa: RUF012 - Airflow's form.
    fastapi_root_middlewares = [{"middleware": start_receiver, "args": [], "kwargs": {}, "name": "Baseten webhooks"}]  # noqa: RUF012

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Check settings and Airflow itself when Airflow starts, not when the first result arrives.

        What is missing in Airflow is logged: a plugin that raises is left out, and the receiver with it.

        :raises ValueError: ``[baseten] webhook_max_body_bytes`` is not a number of bytes.
        :raises BasetenInputError: ``[baseten] webhook_tolerance_seconds`` is not a number of seconds.
        """
        from airflow_provider_baseten.compat import secrets_backends
        from airflow_provider_baseten.webhook.clock import configured_tolerance

        _max_body_bytes()
        configured_tolerance()
        if secrets_backends() is None:
            _log.error(
                "This version of Airflow does not tell the Baseten provider where connections are kept: while one of "
                "these places is down, deliveries for connections that were not used before are refused. Look for a "
                "newer version of airflow-provider-baseten."
            )


@cache
def _app() -> Any:
    from airflow_provider_baseten.webhook.app import MAX_BODY_BYTES, create_app
    from airflow_provider_baseten.webhook.clock import Clock, configured_tolerance, date_of_host
    from airflow_provider_baseten.webhook.connections import Connections, of_airflow
    from airflow_provider_baseten.webhook.spool import Spool, default_folder

    return create_app(
        Connections(of_airflow),
        max_body_bytes=_max_body_bytes() or MAX_BODY_BYTES,
        spool=Spool(default_folder()),
        clock=Clock(tolerance=configured_tolerance(), ask=date_of_host),
    )


def _max_body_bytes() -> int | None:
    from airflow_provider_baseten.compat import conf

    value = conf.get("baseten", "webhook_max_body_bytes", fallback=None)
    if not value:
        return None
    if not value.strip().isdecimal() or not int(value):
        raise ValueError("[baseten] webhook_max_body_bytes is not a number of bytes; no webhooks are received.")
    return int(value)
