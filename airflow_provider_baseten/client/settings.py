"""Settings that the blocking and the async transport share."""

from dataclasses import replace
from importlib.metadata import version

from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.http import READ_TIMEOUT, Request
from airflow_provider_baseten.api.responses import Response, is_answer
from airflow_provider_baseten.client.response_reader import MAX_RESPONSE_BYTES
from airflow_provider_baseten.client.retries import RequestRetries

CONNECT_TIMEOUT = 10.0


USER_AGENT = f"airflow-provider-baseten/{version('airflow-provider-baseten')}"


# Sockets wait no longer: they count milliseconds in 32 bits.
_MOST_SECONDS = 2_000_000.0


class TransportSettings:
    """What both transports are made from.

    :param api_key: sent with every request, never part of a text.
    :param auth_scheme: ``Bearer`` or ``Api-Key``.
    :param read_timeout: seconds to wait for the answer, and for each further part of a streamed one.
    :param request_retries: when to try again.
    :param max_response_bytes: most bytes of a model's answer, unpacked; by default 1 GiB. What is larger than a few
        megabytes is kept in a temporary file.
    :param error_details: whether errors quote what the server says; by default they do.
    """

    def __init__(
        self,
        api_key: str,
        auth_scheme: str = "Bearer",
        *,
        read_timeout: float = READ_TIMEOUT,
        request_retries: RequestRetries | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        error_details: bool = True,
    ) -> None:
        self._api_key = api_key
        self._authorization = f"{auth_scheme} {api_key}"
        self._read_timeout = min(read_timeout, _MOST_SECONDS)
        self._retries = request_retries or RequestRetries()
        self._max_response_bytes = max_response_bytes
        self._error_details = error_details

    def marked(self, request: Request) -> Request:
        """Return the request with what this connection wants of its errors."""
        return request if self._error_details else replace(request, error_details=False)


def checked_response(response: Response, api_key: str, body: bytes | None = None) -> Response:
    """Return an answer that is no error.

    :param body: what was sent in place of the body of the request.
    """
    if is_answer(response.request, response.status):
        return response
    sent = response if body is None else replace(response, request=replace(response.request, body=body))
    if error := error_for(sent):
        error.args = (str(error).replace(api_key, "***"),)
        raise error
    return response
