"""Baseten's own refusals, as they leave the gateway."""

import json
from typing import Any


class EmulatorError(Exception):
    """The emulator was set up with something it can't serve, or could not start."""


class GatewayError(Exception):
    """The gateway answers instead of the model.

    :param status: HTTP status.
    :param message: the ``error`` of the body.
    :param error_code: the ``error_code`` of the body, one of the inference API's documented values.
    :param headers: further response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        error_code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.headers = headers or {}

    def body(self) -> bytes:
        """Return the JSON body."""
        content: dict[str, Any] = {"error": self.message}
        if self.error_code is not None:
            content["error_code"] = self.error_code
        return json.dumps(content).encode()


def not_found(message: str) -> GatewayError:
    """Return the answer for a model, chain, environment or deployment that does not exist."""
    return GatewayError(404, message, "model_does_not_exist")


def bad_request(message: str) -> GatewayError:
    """Return the answer for a request that can't be understood."""
    return GatewayError(400, message, "client_error")
