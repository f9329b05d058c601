"""Errors of the emulator, and error responses of the gateway."""

import json
from collections.abc import Mapping
from typing import Any


class EmulatorError(Exception):
    """The emulator has an invalid configuration, or could not start."""


class GatewayError(Exception):
    """Error response of the gateway itself, sent in place of a response of the model.

    :param status: HTTP status.
    :param message: value of the field ``error`` in the body.
    :param error_code: value of the field ``error_code`` in the body, as documented for the inference API. ``None``
        leaves the field out.
    :param headers: additional response headers.
    :param fields: additional fields of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        error_code: str | None = None,
        headers: dict[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.headers = headers or {}
        self.fields = fields or {}

    def body(self) -> bytes:
        """Return the JSON body."""
        content: dict[str, Any] = {"error": self.message}
        if self.error_code is not None:
            content["error_code"] = self.error_code
        return json.dumps({**content, **self.fields}).encode()


def not_found(message: str) -> GatewayError:
    """Return the error for a model, chain, environment or deployment that does not exist."""
    return GatewayError(404, message, "model_does_not_exist")


def bad_request(message: str) -> GatewayError:
    """Return the error for an invalid request."""
    return GatewayError(400, message, "client_error")
