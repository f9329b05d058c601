"""What the body of an async submission asks for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import httpx

from airflow_provider_baseten.emulator.errors import bad_request

_ENVELOPE = {
    "model_input",
    "webhook_endpoint",
    "priority",
    "max_time_in_queue_seconds",
    "inference_retry_config",
}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How often the model is run again when it fails.

    :param max_attempts: attempts in all.
    :param initial_delay_ms: milliseconds before the second attempt; doubled for each further one.
    :param max_delay_ms: longest wait in milliseconds.
    """

    max_attempts: int = 3
    initial_delay_ms: int = 1000
    max_delay_ms: int = 5000

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after so many failed attempts."""
        return float(min(self.initial_delay_ms * 2 ** (failures - 1), self.max_delay_ms)) / 1000


@dataclass(frozen=True, slots=True)
class Submission:
    """An async request as it was submitted.

    :param model_input: JSON for the model.
    :param webhook_endpoint: URL that the output is delivered to.
    :param priority: 0, which is first, to 2.
    :param max_time_in_queue_seconds: how long it waits for a replica before it expires.
    :param retries: what happens when the model fails.
    """

    model_input: bytes = field(repr=False)
    webhook_endpoint: str | None = None
    priority: int = 0
    max_time_in_queue_seconds: int = 600
    retries: RetryConfig = RetryConfig()


def parse_submission(kind: Literal["model", "chain"], body: bytes) -> Submission:
    """Read the body of ``async_predict`` or ``async_run_remote``.

    :param kind: a chain's body may also be the bare arguments of its ``run_remote``.
    :param body: the body.
    :raises GatewayError: 400, it is no JSON object or a field is out of its bounds.
    """
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object.")
    if kind == "chain" and not ("model_input" in fields and fields.keys() <= _ENVELOPE):
        return Submission(_to_json(fields))
    if "model_input" not in fields:
        raise bad_request("model_input is required.")
    if kind == "chain" and not isinstance(fields["model_input"], dict):
        raise bad_request("model_input of a chain must be an object.")
    return Submission(
        model_input=_to_json(fields["model_input"]),
        webhook_endpoint=_webhook_endpoint(fields.get("webhook_endpoint")),
        priority=_integer(fields, "priority", 0, 2, 0),
        max_time_in_queue_seconds=_integer(fields, "max_time_in_queue_seconds", 10, 259_200, 600),
        retries=_retries(fields.get("inference_retry_config")),
    )


def _retries(fields: Any) -> RetryConfig:
    if fields is None:
        return RetryConfig()
    if not isinstance(fields, dict):
        raise bad_request("inference_retry_config must be an object.")
    return RetryConfig(
        _integer(fields, "max_attempts", 1, 10, 3),
        _integer(fields, "initial_delay_ms", 0, 10_000, 1000),
        _integer(fields, "max_delay_ms", 0, 60_000, 5000),
    )


def _integer(fields: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # In a JSON schema 1.0 is an integer.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_request(f"{name} must be an integer from {low} to {high}.")
    return value


def _webhook_endpoint(value: Any) -> str | None:
    if value is None:
        return None
    try:
        url = httpx.URL(value)
    except (TypeError, httpx.InvalidURL):
        url = httpx.URL()
    if url.host and (url.scheme == "https" or (url.scheme == "http" and url.host in _LOCAL_HOSTS)):
        return str(value)
    raise bad_request("webhook_endpoint must be an https URL; only localhost may have http.")


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
