"""What an Airflow connection of type ``baseten`` says."""

import json
import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk.log import mask_secret

from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError

if TYPE_CHECKING:
    from airflow.sdk import Connection

MANAGEMENT_URL = "https://api.baseten.co"
AUTH_SCHEMES = ("Bearer", "Api-Key")

EXTRAS = (
    "auth_scheme",
    "management_api_key",
    "management_url",
    "result_store",
    "webhook_endpoint",
    "webhook_secrets",
    "allow_unsigned_webhooks",
    "log_error_details",
)

# The extras of a connection that is written as a URI are texts.
_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off", ""), False)

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
    :param log_error_details: whether errors quote what the server says about them; by default they do.
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
    log_error_details: bool = True

    @classmethod
    def from_airflow(cls, connection: "Connection") -> "BasetenConnection":
        """Read an Airflow connection and register its keys with the secrets masker.

        :raises BasetenAuthError: there is no API key, or it can't be one.
        :raises BasetenInputError: a field is not valid; the message names it.
        """
        conn_id = connection.conn_id
        extra = _checked_extra(connection)
        api_key = _checked_key(conn_id, "password (the API key)", connection.password)
        management_api_key = api_key
        if extra.get("management_api_key"):
            management_api_key = _checked_key(conn_id, "management_api_key", extra["management_api_key"])
        scheme = _text(conn_id, extra, "auth_scheme") or AUTH_SCHEMES[0]
        if scheme not in AUTH_SCHEMES:
            raise BasetenInputError(f"auth_scheme of connection '{conn_id}' is none of {', '.join(AUTH_SCHEMES)}.")
        base_url = _base_url(connection)
        management_url = _text(conn_id, extra, "management_url") or base_url or MANAGEMENT_URL
        return cls(
            conn_id=conn_id,
            api_key=api_key,
            base_url=base_url,
            auth_scheme=scheme,
            management_api_key=management_api_key,
            management_url=check_base_url(f"management_url of connection '{conn_id}'", management_url),
            result_store=_text(conn_id, extra, "result_store"),
            webhook_endpoint=_text(conn_id, extra, "webhook_endpoint"),
            webhook_secrets=_checked_secrets(conn_id, extra.get("webhook_secrets")),
            allow_unsigned_webhooks=_boolean(conn_id, extra, "allow_unsigned_webhooks", default=False),
            log_error_details=_boolean(conn_id, extra, "log_error_details", default=True),
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


def _checked_extra(connection: "Connection") -> dict[str, Any]:
    try:
        extra = json.loads(connection.extra) if connection.extra else {}
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise BasetenInputError(f"Extra of connection '{connection.conn_id}' is not a JSON object: give {{...}}.")
    for name in extra.keys() - EXTRAS:
        nearest = get_close_matches(name, EXTRAS, 1, 0)[0]
        raise BasetenInputError(
            f"Extra of connection '{connection.conn_id}' has no field {name!r:.60}; the nearest is {nearest!r}."
        )
    connection.extra_dejson  # noqa: B018 - registers what may be a secret with Airflow's masker.
    return extra


def _text(conn_id: str, extra: dict[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is not None and not isinstance(value, str):
        raise BasetenInputError(f"{name} of connection '{conn_id}' is a {type(value).__name__}, and takes a text.")
    return value or None


def _boolean(conn_id: str, extra: dict[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name)
    if value is None or value == "":
        return default
    found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise BasetenInputError(f"{name} of connection '{conn_id}' is neither true nor false.")
    return found


def _base_url(connection: "Connection") -> str | None:
    """Return what Host, Port and Schema say together, ``None`` for Baseten's own hosts.

    The key goes there, so nothing is guessed: what contradicts itself, and a host of another machine without a scheme,
    is an error.
    """
    name = f"Host of connection '{connection.conn_id}'"
    host, port, scheme = connection.host, connection.port or None, (connection.schema or "").lower()
    if scheme not in ("", "http", "https"):
        raise BasetenInputError(f"Schema of connection '{connection.conn_id}' is none of http and https.")
    if not host:
        if port is not None:
            raise BasetenInputError(f"{name} is empty, although there is a Port: give both, or neither.")
        return None
    if "://" not in host:
        scheme = scheme or ("http" if _is_this_machine(host) else "")
        host = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
        host = f"{scheme}://{host}" if scheme else host
    parts = urlsplit(check_base_url(name, host))
    if scheme and parts.scheme != scheme:
        raise BasetenInputError(f"{name} begins with {parts.scheme}, and its Schema says {scheme}: give one of them.")
    if port is None or port == parts.port:
        return check_base_url(name, host)
    if parts.port is not None:
        raise BasetenInputError(f"{name} has the port {parts.port}, and the field Port says {port}: give one of them.")
    return check_base_url(name, parts._replace(netloc=f"{parts.netloc}:{port}").geturl())


def _is_this_machine(host: str) -> bool:
    name = host.partition("/")[0]
    name = name.strip("[]") if name.count(":") > 1 else name.partition(":")[0]
    name = name.partition("]")[0]
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _checked_secrets(conn_id: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = 0
    secrets = [part.strip() for part in value.split(",")] if isinstance(value, str) else [] if value is None else value
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
