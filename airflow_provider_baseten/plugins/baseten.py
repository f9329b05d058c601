"""Airflow plugin that mounts the webhook receiver and the pages in the API server.

Every Airflow process imports this module, so the module itself imports nothing heavy.
"""

import logging
from functools import cache
from typing import Any

from airflow_provider_baseten import config, pages, webhook
from airflow_provider_baseten.compat import AirflowPlugin

_log = logging.getLogger(__name__)


async def receiver(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request; see :mod:`airflow_provider_baseten.webhook.app`."""
    await _app()(scope, receive, send)


async def ui(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request for a page; see :mod:`airflow_provider_baseten.pages.app`."""
    await _ui()(scope, receive, send)


def start_receiver(app: Any) -> Any:
    """Start the receiver's background threads with the API server; return the API server's app unchanged.

    Airflow does not run the lifespan of a plugin's app, but it creates the plugin's middleware when a serving process
    starts. So this function is registered as middleware.
    """
    try:
        _app().state.start()
    except Exception as error:
        _log.error(
            "The background threads of the webhook receiver did not start, so spooled deliveries are not stored: %s",
            error,
        )
    return app


class BasetenPlugin(AirflowPlugin):
    """Plugin that adds ``POST /baseten/webhooks/{conn_id}`` and the pages below ``/baseten/ui/`` to the API server.

    The route of the receiver needs no login, because Baseten has no account in Airflow. Instead, the signature of a
    delivery proves that Baseten sent it. The pages need Airflow's login.
    """

    name = "baseten"
    # Airflow requires that these class attributes are lists of dictionaries, which the linter reports as mutable.
    # The prefix of the receiver is the beginning of the other one, and the first that fits a path gets the request.
    fastapi_apps = [  # noqa: RUF012
        {"app": ui, "url_prefix": pages.UI_PREFIX, "name": "Baseten pages"},
        {"app": receiver, "url_prefix": webhook.PREFIX, "name": "Baseten webhooks"},
    ]
    # URLs without a slash in front are below the base URL of Airflow.
    external_views = [  # noqa: RUF012
        {
            "name": "Baseten",
            "href": f"{pages.UI_PREFIX}/".lstrip("/"),
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "baseten",
            "icon": f"{pages.UI_PREFIX}/static/icon.svg".lstrip("/"),
            "icon_dark_mode": f"{pages.UI_PREFIX}/static/icon-dark.svg".lstrip("/"),
        }
    ]
    fastapi_root_middlewares = [{"middleware": start_receiver, "args": [], "kwargs": {}, "name": "Baseten webhooks"}]  # noqa: RUF012

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """When Airflow starts, check the receiver's options and the internals of Airflow that the receiver uses.

        A result store that is not valid and a missing internal are only logged. If this method raised an error for
        them, Airflow would drop the plugin, and no delivery would be received.

        :raises BasetenInputError: an option of the receiver is not valid.
        """
        from airflow_provider_baseten.compat import secrets_backends
        from airflow_provider_baseten.exceptions import BasetenInputError

        config.WEBHOOK_MAX_BODY_BYTES.get()
        config.WEBHOOK_TOLERANCE_SECONDS.get()
        try:
            config.RESULT_STORE.get()
        except BasetenInputError as error:
            # Not raised, because a receiver without a result store keeps deliveries in its spool.
            _log.error("Webhook deliveries can't be stored: %s", error)
        if secrets_backends() is None:
            _log.error(
                "airflow-provider-baseten can't find the secrets backends in this version of Airflow: while one of "
                "them is down, webhook deliveries for its connections are refused. Install a newer version of "
                "airflow-provider-baseten."
            )


@cache
def _ui() -> Any:
    from airflow_provider_baseten.pages.app import create_pages

    return create_pages()


@cache
def _app() -> Any:
    from airflow_provider_baseten.webhook.app import create_app
    from airflow_provider_baseten.webhook.clock import DeliveryClock, fetch_server_time
    from airflow_provider_baseten.webhook.connections import Connections, find_airflow_connection
    from airflow_provider_baseten.webhook.spool import Spool, default_folder

    return create_app(
        Connections(find_airflow_connection),
        max_body_bytes=config.WEBHOOK_MAX_BODY_BYTES.get(),
        spool=Spool(default_folder()),
        clock=DeliveryClock(tolerance=config.WEBHOOK_TOLERANCE_SECONDS.get(), ask=fetch_server_time),
    )
