"""API keys and their permissions."""

import hmac
from typing import Literal

from airflow_provider_baseten.emulator.errors import GatewayError

KeyType = Literal["PERSONAL", "WORKSPACE_MANAGE_ALL", "WORKSPACE_INVOKE"]

_SCHEMES = ("bearer", "api-key")


def parse_scheme(authorization: str) -> str:
    """Return the scheme of an ``Authorization`` header, or an empty string if the scheme is unknown.

    An unknown scheme is not returned, because it may be an API key that was sent without a scheme.
    """
    scheme, space, _ = authorization.partition(" ")
    return scheme if space and scheme.lower() in _SCHEMES else ""


class ApiKeys:
    """Accepted API keys.

    :param keys: API key -> its type. If there are no keys, every request is accepted, even without a key.
    """

    def __init__(self, keys: dict[str, KeyType]) -> None:
        self._keys = keys

    def authorize(self, authorization: str | None, *, management: bool) -> None:
        """Check the ``Authorization`` header of a request.

        :param authorization: value of the header, ``Bearer <key>`` or ``Api-Key <key>``.
        :param management: whether the request is for the management API.
        :raises GatewayError: 401 for a missing or unknown key, 403 if the key may only call models and the
            request is for the management API.
        """
        if not self._keys:
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() not in _SCHEMES or not key:
            raise GatewayError(401, "Missing API key.", "unauthorized")
        key_type = self._find(key.strip())
        if key_type is None:
            raise GatewayError(401, "Invalid API key.", "unauthorized")
        if management and key_type == "WORKSPACE_INVOKE":
            raise GatewayError(403, "This API key may only call models.", "unauthorized")

    def _find(self, sent_key: str) -> KeyType | None:
        for key, key_type in self._keys.items():
            if hmac.compare_digest(key.encode(), sent_key.encode()):
                return key_type
        return None
