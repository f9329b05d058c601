"""What an Airflow connection of type ``baseten`` says."""

import json
import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import check_base_url
from airflow_provider_baseten.arguments import is_encodable, shown
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

# The extras of a connection that is written as a URI are texts.
_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off", ""), False)

# Fields of the connection itself that are easily taken for extras.
_FIELDS = dict.fromkeys(("api_key", "apikey", "key", "token", "password"), "password") | {
    "base_url": "host",
    "url": "host",
    "host": "host",
    "port": "port",
}

_KEY = re.compile(r"[\x21-\x7e]+")

# Addresses of Baseten that are copied from its pages and are no base URL.
_OWN_HOST = re.compile(r"((www|app|api|docs|inference)\.)?baseten\.co|(model|chain)-[a-z0-9-]+\.api\.baseten\.co")

_FORMS = f"'{CONN_TYPE}://:KEY@', '{CONN_TYPE}://:KEY@host:port' or JSON with conn_type, password, host, port and extra"


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
    def from_airflow(cls, connection: "Connection", called: str | None = None) -> "BasetenConnection":
        """Read an Airflow connection and register its keys with the secrets masker.

        :param called: what errors call the connection, by default ``connection '<id>'``.
        :raises BasetenAuthError: there is no API key, or it can't be one.
        :raises BasetenInputError: the connection is of another type, or a field is not valid; the message names it.
        """
        fields = _Fields(connection, called or f"connection '{connection.conn_id}'")
        api_key = fields.api_key()
        base_url = fields.base_url()
        return cls(
            conn_id=connection.conn_id,
            api_key=api_key,
            base_url=base_url,
            auth_scheme=fields.auth_scheme(),
            management_api_key=fields.management_api_key() or api_key,
            management_url=fields.management_url() or base_url or MANAGEMENT_URL,
            result_store=fields.text("result_store"),
            webhook_endpoint=fields.text("webhook_endpoint"),
            webhook_secrets=fields.webhook_secrets(),
            allow_unsigned_webhooks=fields.boolean("allow_unsigned_webhooks", default=False),
            log_error_details=fields.boolean("log_error_details", default=True),
        )

    def credentials(self, timeout: float, request_retries: RequestRetries) -> Credentials:
        """Return what a client is made from.

        :param timeout: seconds to wait for a response.
        :param request_retries: how often a request that did not run is sent again.
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
        """Stand in for the missing default connection with the key in ``BASETEN_API_KEY``.

        :raises BasetenAuthError: the variable is not set either.
        """
        if not os.environ.get("BASETEN_API_KEY"):
            raise BasetenAuthError(
                f"Connection '{conn_id}' does not exist and BASETEN_API_KEY is not set: add one of type {CONN_TYPE} "
                "whose password is the API key."
            )
        api_key = _checked_key("BASETEN_API_KEY", os.environ["BASETEN_API_KEY"])
        return cls(conn_id=conn_id, api_key=api_key, management_api_key=api_key)


def check_variable(conn_id: str) -> None:
    """Check why Airflow does not find a connection: it calls one missing, too, whose variable it can't read.

    :raises BasetenInputError: the variable is set.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    if is_encodable(variable) and os.environ.get(variable):
        raise BasetenInputError(
            f"{variable} is set, but Airflow can't read a connection from it: write {_FORMS}. In a URI, a host with "
            "its scheme is escaped: http%3A%2F%2F127.0.0.1%3A8700."
        )


class _Fields:
    """Reads the fields of an Airflow connection; an error names the field and the connection."""

    def __init__(self, connection: "Connection", called: str) -> None:
        self._connection = connection
        self._called = called
        self._check_type()
        self._extra = self._checked_extra()

    def _check_type(self) -> None:
        name, conn_type = _sentence(self._called), self._connection.conn_type
        if not conn_type:
            raise BasetenInputError(f"{name} has no type, but has to be of type {CONN_TYPE}: write {_FORMS}.")
        if conn_type.lower() != CONN_TYPE:
            raise BasetenInputError(
                f"{name} is of type {shown(conn_type)}, but has to be of type {CONN_TYPE}: use another one, or change "
                "its type."
            )

    def _checked_extra(self) -> dict[str, Any]:
        text = self._connection.extra
        try:
            extra = json.loads(text) if text else {}
        except (TypeError, ValueError, RecursionError):
            extra = None
        if not isinstance(extra, dict):
            raise BasetenInputError(f"Extra of {self._called} is not a JSON object: give {{...}}.")
        for name in sorted(extra.keys() - EXTRAS):
            raise BasetenInputError(f"Extra of {self._called} has no field {shown(name)}; {_right_name(name)}.")
        self._connection.extra_dejson  # noqa: B018 - registers what may be a secret with Airflow's masker.
        return extra

    def api_key(self) -> str:
        password, login = self._connection.password, self._connection.login
        if not password:
            found = ""
            if login:
                mask_secret(login)  # It may be the key.
                found = ", only a login, which is not used"
            raise BasetenAuthError(
                f"{_sentence(self._called)} has no password (the API key){found}: enter the key as the password; in a "
                f"URI it comes after a colon, '{CONN_TYPE}://:KEY@'."
            )
        return _checked_key(f"The password (the API key) of {self._called}", password)

    def management_api_key(self) -> str | None:
        key = self._extra.get("management_api_key")
        return _checked_key(f"management_api_key of {self._called}", key) if key else None

    def auth_scheme(self) -> str:
        scheme = self.text("auth_scheme") or AUTH_SCHEMES[0]
        if scheme not in AUTH_SCHEMES:
            raise BasetenInputError(f"auth_scheme of {self._called} is none of {', '.join(AUTH_SCHEMES)}.")
        return scheme

    def management_url(self) -> str | None:
        url = self.text("management_url")
        return check_base_url(f"management_url of {self._called}", _with_scheme(url)) if url else None

    def base_url(self) -> str | None:
        """Return what Host, Port and Schema say together, ``None`` for Baseten's own hosts.

        The key goes there, so what contradicts itself is an error. A host without a scheme is reached by https, unless
        it is this machine: a key crosses a network unencrypted only if the connection says http.
        """
        connection = self._connection
        name, host, port = f"Host (the Base URL) of {self._called}", connection.host, self._port()
        scheme = (connection.schema or "").lower()
        if scheme not in ("", "http", "https"):
            raise BasetenInputError(
                f"Schema of {self._called} is neither http nor https. A path belongs to the host: https://host/path."
            )
        if not host:
            if port not in (None, 443):
                raise BasetenInputError(f"{name} is empty, although the Port is {port}: give both, or the Port 0.")
            return None
        url = check_base_url(name, _with_scheme(host, scheme))
        parts = urlsplit(url)
        if scheme and parts.scheme != scheme:
            raise BasetenInputError(f"{name} begins with {parts.scheme}, and its Schema says {scheme}: give one.")
        if _OWN_HOST.fullmatch((parts.hostname or "").lower()):
            raise BasetenInputError(f"{name} is Baseten's own {parts.hostname}: leave it empty to call Baseten.")
        if port is None or port == parts.port:
            return url
        if parts.port is not None:
            raise BasetenInputError(f"{name} has the port {parts.port}, and the field Port says {port}: give one.")
        return check_base_url(name, parts._replace(netloc=f"{parts.netloc}:{port}").geturl())

    def _port(self) -> int | None:
        """Return the port; the form has 0 for none."""
        try:
            port = int(self._connection.port or 0)  # Some secrets backends give a text.
        except ValueError:
            port = -1
        if not 0 <= port < 65536:
            raise BasetenInputError(f"Port of {self._called} is not a number from 1 to 65535, or 0 for none.")
        return port or None

    def text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is not None and not isinstance(value, str):
            raise BasetenInputError(f"{name} of {self._called} is a {type(value).__name__}, and takes a text.")
        return value or None

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


def _right_name(name: str) -> str:
    """Say where the value of an extra belongs that has no such name."""
    if field_name := _FIELDS.get(name.lower()):
        return f"give it as the {field_name} of the connection, beside extra"
    nearest = get_close_matches(name.lower(), EXTRAS, 1)
    return f"the nearest is {nearest[0]!r}" if nearest else f"there are {', '.join(EXTRAS)}"


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
            f"{name} can't be an API key: it holds a space, a line break or another character that no key has. Enter "
            "the key alone."
        )
    mask_secret(value)
    return value
