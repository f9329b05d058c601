"""Credentials and settings in an Airflow connection of type ``baseten``."""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.arguments import check_folder, shown
from airflow_provider_baseten.client.credentials import MANAGEMENT_URL, Credentials
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.compat import mask_secret
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenInputError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "baseten"
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

# Strings that mean true or false. In a connection that is written as a URI, all extras are strings.
_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off", ""), False)

# Names that users give as extras by mistake, and the field of the connection where the value belongs.
_FIELDS = dict.fromkeys(("api_key", "apikey", "key", "token", "password"), "password") | {
    "base_url": "host",
    "url": "host",
    "host": "host",
    "port": "port",
}

_KEY = re.compile(r"[\x21-\x7e]+")

# Baseten's own hosts. Some users enter such a host, copied from Baseten's pages, in the connection by mistake.
_OWN_HOST = re.compile(r"((www|app|api|docs|inference)\.)?baseten\.co|(model|chain)-[a-z0-9-]+\.api\.baseten\.co")


def forms(conn_type: str) -> str:
    """Return the forms in which a connection can be written, for error messages."""
    scheme = conn_type.replace("_", "-")  # A URI can't have an underscore there; Airflow replaces the hyphen.
    return f"'{scheme}://:KEY@', '{scheme}://:KEY@host:port' or JSON with conn_type, password, host, port and extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasetenConnection:
    """Credentials and settings of a connection, checked.

    :param conn_id: id of the Airflow connection.
    :param api_key: API key, from the password of the Airflow connection.
    :param base_url: base URL, from the host of the Airflow connection; ``None`` means Baseten's own hosts.
    :param auth_scheme: ``Bearer`` (default) or ``Api-Key``, from the extra ``auth_scheme``.
    :param management_api_key: key for the management API, by default the API key.
    :param management_url: URL of the management API; by default the base URL, or https://api.baseten.co if there is no
        base URL.
    :param result_store: URI of the folder for webhook deliveries and for outputs that are too large for XCom; by
        default ``[baseten] result_store``.
    :param webhook_endpoint: URL to which Baseten delivers async results.
    :param webhook_secrets: secrets that Baseten signs deliveries with; several during a rotation.
    :param allow_unsigned_webhooks: whether the receiver accepts deliveries without a signature; by default false.
    :param log_error_details: whether errors and logs quote the error message of the server; by default true.
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
    def from_airflow(
        cls,
        connection: "Connection",
        called: str | None = None,
        *,
        conn_type: str = CONN_TYPE,
        extras: Collection[str] = EXTRAS,
    ) -> "BasetenConnection":
        """Return the checked fields of an Airflow connection, and register its keys with the secrets masker.

        :param called: name of the connection in errors, by default ``connection '<id>'``.
        :param conn_type: type that the connection has to have, by default ``baseten``.
        :param extras: names of the extras that this type of connection has.
        :raises BasetenAuthError: there is no API key, or a key contains characters that no API key has.
        :raises BasetenInputError: the connection is of another type, or a field is not valid. The message names the
            field.
        """
        fields = _Fields(connection, called or f"connection '{connection.conn_id}'", conn_type, extras)
        api_key = fields.api_key()
        base_url = fields.base_url()
        return cls(
            conn_id=connection.conn_id,
            api_key=api_key,
            base_url=base_url,
            auth_scheme=fields.auth_scheme(),
            management_api_key=fields.management_api_key() or api_key,
            management_url=fields.management_url() or base_url or MANAGEMENT_URL,
            result_store=fields.result_store(),
            webhook_endpoint=fields.text("webhook_endpoint"),
            webhook_secrets=fields.webhook_secrets(),
            allow_unsigned_webhooks=fields.boolean("allow_unsigned_webhooks", default=False),
            log_error_details=fields.boolean("log_error_details", default=True),
        )

    def credentials(self, timeout: float, request_retries: RequestRetries) -> Credentials:
        """Return the credentials of a client.

        :param timeout: seconds to wait for a response.
        :param request_retries: how often, and for how long, a failed request is sent again if the model did not run.
        :raises BasetenInputError: ``[baseten] max_response_bytes`` is not a number of bytes.
        """
        return Credentials(
            api_key=self.api_key,
            base_url=self.base_url,
            auth_scheme=self.auth_scheme,
            management_api_key=self.management_api_key,
            management_url=self.management_url,
            timeout=timeout,
            request_retries=request_retries,
            max_response_bytes=config.MAX_RESPONSE_BYTES.get(),
            error_details=self.log_error_details,
        )

    @classmethod
    def from_environment(cls, conn_id: str) -> "BasetenConnection":
        """Return a connection with the key in ``BASETEN_API_KEY``, in place of the missing default connection.

        :raises BasetenAuthError: ``BASETEN_API_KEY`` is not set, or its value can't be an API key.
        """
        if not os.environ.get("BASETEN_API_KEY"):
            raise BasetenAuthError(
                f"Connection '{conn_id}' does not exist and BASETEN_API_KEY is not set: add one of type {CONN_TYPE} "
                "whose password is the API key."
            )
        api_key = _checked_key("BASETEN_API_KEY", os.environ["BASETEN_API_KEY"])
        return cls(conn_id=conn_id, api_key=api_key, management_api_key=api_key)


class _Fields:
    """Fields of an Airflow connection. Each is checked when it is read. Errors name the field and the connection."""

    def __init__(self, connection: "Connection", called: str, conn_type: str, extras: Collection[str]) -> None:
        self._connection = connection
        self._called = called
        self._type = conn_type
        self._extras = extras
        self._check_type()
        self._extra = self._checked_extra()

    def _check_type(self) -> None:
        name, conn_type = _sentence(self._called), self._connection.conn_type
        if not conn_type:
            raise BasetenInputError(
                f"{name} has no type, but has to be of type {self._type}: write {forms(self._type)}."
            )
        if conn_type.lower() != self._type:
            raise BasetenInputError(
                f"{name} is of type {shown(conn_type)}, but has to be of type {self._type}: use another connection, or "
                "change the type."
            )

    def _checked_extra(self) -> dict[str, Any]:
        text = self._connection.extra
        try:
            extra = json.loads(text) if text else {}
        except (TypeError, ValueError, RecursionError):
            extra = None
        if not isinstance(extra, dict):
            raise BasetenInputError(f"Extra of {self._called} is not a JSON object: write {{...}}.")
        for name in sorted(extra.keys() - set(self._extras)):
            hint = _right_name(name, self._extras)
            raise BasetenInputError(f"Extra of {self._called} has no field {shown(name)}; {hint}.")
        self._connection.extra_dejson  # noqa: B018 - registers secrets in extras with Airflow's masker.
        return extra

    def api_key(self) -> str:
        password, login = self._connection.password, self._connection.login
        if not password:
            found = ""
            if login:
                mask_secret(login)  # The login may be the API key, entered in the wrong field.
                found = ", only a login, which is not used"
            raise BasetenAuthError(
                f"{_sentence(self._called)} has no password (the API key){found}: enter the key as the password; in a "
                f"URI it comes after a colon, '{self._type.replace('_', '-')}://:KEY@'."
            )
        return _checked_key(f"The password (the API key) of {self._called}", password)

    def management_api_key(self) -> str | None:
        key = self._extra.get("management_api_key")
        return _checked_key(f"management_api_key of {self._called}", key) if key else None

    def auth_scheme(self) -> str:
        scheme = self.text("auth_scheme") or AUTH_SCHEMES[0]
        if scheme not in AUTH_SCHEMES:
            raise BasetenInputError(f"auth_scheme of {self._called} is not one of {', '.join(AUTH_SCHEMES)}.")
        return scheme

    def management_url(self) -> str | None:
        url = self.text("management_url")
        return check_base_url(f"management_url of {self._called}", _with_scheme(url)) if url else None

    def base_url(self) -> str | None:
        """Return the URL that the fields Host, Port and Schema form, ``None`` for Baseten's own hosts.

        The API key is sent to this URL, so fields that contradict each other are an error. If neither Host nor Schema
        has a scheme, the scheme is http for this machine, and https for any other. So the key crosses a network
        unencrypted only if the connection has the scheme http.
        """
        connection = self._connection
        name, host, port = f"Host (the Base URL) of {self._called}", connection.host, self._port()
        scheme = (connection.schema or "").lower()
        if scheme not in ("", "http", "https"):
            raise BasetenInputError(
                f"Schema of {self._called} is neither http nor https. Write a path as part of the host: https://host/path."
            )
        if not host:
            if port not in (None, 443):
                raise BasetenInputError(f"{name} is empty, although the Port is {port}: give both, or the Port 0.")
            return None
        url = check_base_url(name, _with_scheme(host, scheme))
        parts = urlsplit(url)
        if scheme and parts.scheme != scheme:
            raise BasetenInputError(f"{name} begins with {parts.scheme}, but the field Schema is {scheme}: give one.")
        if _OWN_HOST.fullmatch((parts.hostname or "").lower()):
            raise BasetenInputError(f"{name} is Baseten's own {parts.hostname}: leave it empty to call Baseten.")
        if port is None or port == parts.port:
            return url
        if parts.port is not None:
            raise BasetenInputError(f"{name} has the port {parts.port}, but the field Port is {port}: give one.")
        return check_base_url(name, parts._replace(netloc=f"{parts.netloc}:{port}").geturl())

    def _port(self) -> int | None:
        """Return the port; ``None`` if it is missing or 0. In the connection form, 0 stands for no port."""
        try:
            port = int(self._connection.port or 0)  # Some secrets backends return a string.
        except ValueError:
            port = -1
        if not 0 <= port < 65536:
            raise BasetenInputError(f"Port of {self._called} is not a number from 1 to 65535, or 0 for none.")
        return port or None

    def text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is not None and not isinstance(value, str):
            raise BasetenInputError(f"{name} of {self._called} takes a text, not a {type(value).__name__}.")
        return value or None

    def result_store(self) -> str | None:
        uri = self.text("result_store")
        if uri:
            check_folder(f"result_store of {self._called}", uri)
        return uri

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self._extra.get(name)
        if value is None or value == "":
            return default
        found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
        if found is None:
            raise BasetenInputError(f"{name} of {self._called} is neither true nor false.")
        return found

    def webhook_secrets(self) -> tuple[str, ...]:
        value = self._extra.get("webhook_secrets")
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = 0
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        secrets = [] if value is None else value
        if not isinstance(secrets, list) or not all(isinstance(secret, str) for secret in secrets):
            raise BasetenInputError(f"webhook_secrets of {self._called} is not a list of secrets.")
        for secret in filter(None, secrets):
            mask_secret(secret)
        return tuple(filter(None, secrets))


def _sentence(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _right_name(name: str, extras: Collection[str]) -> str:
    """Return a hint for an extra that does not exist.

    The hint names the field of the connection where the value belongs, or the extra with the most similar name.
    """
    if field_name := _FIELDS.get(name.lower()):
        return f"enter it as the {field_name} of the connection, not in extra"
    nearest = get_close_matches(name.lower(), extras, 1)
    return f"the nearest is {nearest[0]!r}" if nearest else f"the fields are {', '.join(extras)}"


def _with_scheme(host: str, scheme: str = "") -> str:
    if "://" in host:
        return host
    host = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    return f"{scheme or ('http' if _is_this_machine(host) else 'https')}://{host}"


def _is_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _checked_key(name: str, value: object) -> str:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise BasetenAuthError(
            f"{name} can't be an API key: it has a space, a line break or another character that no key has. Enter "
            "only the key."
        )
    mask_secret(value)
    return value
