"""Credentials of a client: addresses and keys of a workspace, and the limits of each request."""

from dataclasses import dataclass, field, replace
from typing import Self

from airflow_provider_baseten import config
from airflow_provider_baseten.api.http import MANAGEMENT_HOST, READ_TIMEOUT, Request
from airflow_provider_baseten.api.target import MODEL_APIS_HOST, check_base_url
from airflow_provider_baseten.arguments import check_seconds, shown
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import BasetenInputError

MANAGEMENT_URL = "https://api.baseten.co"
_MODEL_APIS_URL = "https://inference.baseten.co"

DEFAULT_MAX_RESPONSE_BYTES = config.MAX_RESPONSE_BYTES.default

# Longest timeout in seconds. Sockets take a timeout in milliseconds as a signed 32-bit integer, which can't hold much
# more.
_MAX_SECONDS = 2_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Address and keys of a workspace, and the limits of each request.

    :param api_key: key that is sent with every request to a model; it never appears in messages or logs.
    :param base_url: URL of an emulator or a proxy that is called instead of Baseten's own hosts, for example
        ``http://127.0.0.1:8700``. The path then begins with the model or chain, for example ``/model-abc``.
    :param auth_scheme: ``Bearer`` (default) or ``Api-Key``.
    :param management_api_key: key for the management API, by default the API key.
    :param management_url: address of the management API; by default ``base_url`` if given, else https://api.baseten.co.
    :param timeout: seconds to wait for a response, and for each further part of a streamed response. The default
        of 1260 is longer than Baseten lets a predict call run.
    :param request_retries: limits for sending a request again after an error.
    :param max_response_bytes: largest response of a model in bytes after decompression, by default 1 GiB. A response of
        more than a few megabytes is kept in a temporary file.
    :param error_details: whether error messages quote the server's response, by default true.
    :raises BasetenInputError: an argument is not valid; the message names it.
    """

    api_key: str = field(repr=False)
    base_url: str | None = None
    auth_scheme: str = "Bearer"
    management_api_key: str | None = field(default=None, repr=False)
    management_url: str | None = None
    timeout: float = READ_TIMEOUT
    request_retries: RequestRetries = field(default_factory=RequestRetries)
    max_response_bytes: int = DEFAULT_MAX_RESPONSE_BYTES
    error_details: bool = True

    def __post_init__(self) -> None:
        check_seconds(timeout=self.timeout)
        object.__setattr__(self, "timeout", min(self.timeout, _MAX_SECONDS))
        if not isinstance(self.request_retries, RequestRetries):
            raise BasetenInputError(f"request_retries={shown(self.request_retries)} is not a RequestRetries.")
        for name in ("base_url", "management_url"):
            if (url := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_base_url(name, url))

    def with_options(self, *, timeout: float | None = None, max_attempts: int | None = None) -> Self:
        """Return the same credentials with other limits.

        A limit that is not given stays unchanged.

        :param timeout: seconds to wait for a response.
        :param max_attempts: maximum number of attempts for each request, the first included.
        """
        retries = self.request_retries
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout,
            request_retries=retries if max_attempts is None else replace(retries, max_attempts=max_attempts),
        )

    def url(self, request: Request) -> str:
        """Return the URL of a request."""
        return f"{self.host_url(request.host)}{request.path}"

    def host_url(self, host: str) -> str:
        """Return the URL of a host, without the path.

        :param host: host as in :class:`Request`, for example ``model-abc``.
        """
        if host == MANAGEMENT_HOST:
            return self.management_url or self.base_url or MANAGEMENT_URL
        if self.base_url is not None:
            return f"{self.base_url}/{host}"
        return _MODEL_APIS_URL if host == MODEL_APIS_HOST else f"https://{host}.api.baseten.co"

    def origin(self, host: str) -> str:
        """Return scheme, host and port of a host's URL, for messages."""
        return "/".join(self.host_url(host).split("/", 3)[:3])

    def prepared(self, request: Request) -> Request:
        """Return the request with ``error_details`` of these credentials, so that its errors follow this setting."""
        return request if self.error_details else replace(request, error_details=False)

    def authorization(self, host: str) -> str:
        """Return the value of the header ``Authorization`` for a host."""
        key = self.management_api_key if host == MANAGEMENT_HOST else None
        return f"{self.auth_scheme} {key or self.api_key}"

    def redacted(self, text: str) -> str:
        """Return the text with ``***`` in place of the keys."""
        for key in filter(None, (self.api_key, self.management_api_key)):
            text = text.replace(key, "***")
        return text
