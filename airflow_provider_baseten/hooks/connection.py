"""What an Airflow connection of type ``baseten`` says."""

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk.log import mask_secret

from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError

if TYPE_CHECKING:
    from airflow.sdk import Connection

MANAGEMENT_URL = "https://api.baseten.co"
AUTH_SCHEMES = ("Bearer", "Api-Key")

_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasetenConnection:
    """Credentials and addresses, checked.

    :param conn_id: id of the Airflow connection.
    :param api_key: the password.
    :param base_url: the host; ``None`` means Baseten's own hosts.
    :param auth_scheme: ``Bearer`` (default) or ``Api-Key``, from the extra of that name.
    :param management_api_key: key for the management API, by default the API key.
    :param management_url: where the management API is, by default the host, or else https://api.baseten.co.
    :param result_store: URI of a folder where webhook deliveries land, and outputs that are too large for XCom.
    :param webhook_endpoint: URL that Baseten delivers async results to.
    :param webhook_secrets: secrets that deliveries are signed with; several while they are rotated.
    :param allow_unsigned_webhooks: whether the receiver takes deliveries without a signature; by default it does not.
    """

    conn_id: str
    api_key: str = field(repr=False)
    base_url: str | None = None
    auth_scheme: str = "Bearer"
    management_api_key: str = field(repr=False)
    management_url: str = MANAGEMENT_URL
    result_store: str | None = None
    webhook_endpoint: str | None = None
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    allow_unsigned_webhooks: bool = False

    @classmethod
    def from_airflow(cls, connection: "Connection") -> "BasetenConnection":
        """Read an Airflow connection and register its keys with the secrets masker.

        :raises BasetenAuthError: there is no API key, or it can't be one.
        :raises BasetenInputError: a field is not valid; the message names it.
        """
        conn_id = connection.conn_id
        extra: dict[str, Any] = connection.extra_dejson
        api_key = _checked_key(conn_id, "password (the API key)", connection.password)
        management_api_key = api_key
        if extra.get("management_api_key"):
            management_api_key = _checked_key(conn_id, "management_api_key", extra["management_api_key"])
        scheme = extra.get("auth_scheme") or AUTH_SCHEMES[0]
        if scheme not in AUTH_SCHEMES:
            raise BasetenInputError(f"auth_scheme of connection '{conn_id}' is none of {', '.join(AUTH_SCHEMES)}.")
        base_url = check_base_url(f"Host of connection '{conn_id}'", connection.host) if connection.host else None
        management_url = extra.get("management_url") or base_url or MANAGEMENT_URL
        return cls(
            conn_id=conn_id,
            api_key=api_key,
            base_url=base_url,
            auth_scheme=scheme,
            management_api_key=management_api_key,
            management_url=check_base_url(f"management_url of connection '{conn_id}'", management_url),
            result_store=extra.get("result_store") or None,
            webhook_endpoint=extra.get("webhook_endpoint") or None,
            webhook_secrets=_checked_secrets(conn_id, extra.get("webhook_secrets")),
            allow_unsigned_webhooks=extra.get("allow_unsigned_webhooks") is True,
        )

    @classmethod
    def from_environment(cls, conn_id: str) -> "BasetenConnection":
        """Stand in for the missing default connection with the key in ``BASETEN_API_KEY``.

        :raises BasetenAuthError: the variable is not set either.
        """
        if not os.environ.get("BASETEN_API_KEY"):
            raise BasetenAuthError(
                f"Connection '{conn_id}' does not exist and BASETEN_API_KEY is not set: add one of type baseten "
                "whose password is the API key."
            )
        api_key = _checked_key(conn_id, "BASETEN_API_KEY", os.environ["BASETEN_API_KEY"])
        return cls(conn_id=conn_id, api_key=api_key, management_api_key=api_key)


def _checked_secrets(conn_id: str, value: object) -> tuple[str, ...]:
    secrets = [part.strip() for part in value.split(",")] if isinstance(value, str) else value or []
    if not isinstance(secrets, list) or not all(isinstance(secret, str) for secret in secrets):
        raise BasetenInputError(f"webhook_secrets of connection '{conn_id}' is not a list of secrets.")
    for secret in filter(None, secrets):
        mask_secret(secret)
    return tuple(filter(None, secrets))


def _checked_key(conn_id: str, name: str, value: object) -> str:
    if not value:
        raise BasetenAuthError(f"Connection '{conn_id}' has no {name}: enter the API key.")
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise BasetenAuthError(
            f"{name} of connection '{conn_id}' can't be an API key: it holds a space, a line break or another "
            "character that no key has. Enter it again."
        )
    mask_secret(value)
    return value
