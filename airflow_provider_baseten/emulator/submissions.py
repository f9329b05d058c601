"""Submissions: the bodies of ``async_predict`` and ``async_run_remote``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import httpx

from airflow_provider_baseten.emulator.endpoints import EndpointKind
from airflow_provider_baseten.emulator.errors import bad_request

_FIELDS = {
    "model_input",
    "webhook_endpoint",
    "priority",
    "max_time_in_queue_seconds",
    "inference_retry_config",
}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Settings for the retries of a failing model: number of attempts, and delays between them.

    :param max_attempts: maximum number of attempts, including the first.
    :param initial_delay_ms: delay before the second attempt, in milliseconds. The delay doubles before each later
        attempt.
    :param max_delay_ms: maximum delay before an attempt, in milliseconds.
    """

    max_attempts: int = 3
    initial_delay_ms: int = 1000
    max_delay_ms: int = 5000

    def delay(self, failures: int) -> float:
        """Return the seconds to wait before the next attempt.

        :param failures: number of attempts that have failed, at least 1.
        """
        return float(min(self.initial_delay_ms * 2 ** (failures - 1), self.max_delay_ms)) / 1000


@dataclass(frozen=True, slots=True)
class SubmissionBody:
    """Parsed body of an async submission.

    :param model_input: input of the model in JSON.
    :param webhook_endpoint: URL to which a webhook delivers the output, ``None`` for no webhook.
    :param priority: 0 (highest) to 2 (lowest).
    :param max_time_in_queue_seconds: time after which a request that is still queued expires.
    :param retry_config: how the model is invoked again when it fails.
    """

    model_input: bytes = field(repr=False)
    webhook_endpoint: str | None = None
    priority: int = 0
    max_time_in_queue_seconds: int = 600
    retry_config: RetryConfig = RetryConfig()


def parse_submission(kind: EndpointKind, body: bytes) -> SubmissionBody:
    """Parse the body of ``async_predict`` or ``async_run_remote``.

    :param kind: ``model`` or ``chain``. For a chain, the body may be just the object with the arguments of
        ``run_remote``.
    :param body: request body.
    :raises GatewayError: 400 if the body is not a JSON object, or a field is missing or has an invalid value.
    """
    try:
        fields = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object.")
    if kind == "chain" and not ("model_input" in fields and fields.keys() <= _FIELDS):
        return SubmissionBody(_to_json(fields))
    if "model_input" not in fields:
        raise bad_request("model_input is required.")
    if kind == "chain" and not isinstance(fields["model_input"], dict):
        raise bad_request("model_input of a chain must be an object.")
    return SubmissionBody(
        model_input=_to_json(fields["model_input"]),
        webhook_endpoint=_parse_webhook_endpoint(fields.get("webhook_endpoint")),
        priority=_parse_integer(fields, "priority", 0, 2, 0),
        max_time_in_queue_seconds=_parse_integer(fields, "max_time_in_queue_seconds", 10, 259_200, 600),
        retry_config=_parse_retry_config(fields.get("inference_retry_config")),
    )


def _parse_retry_config(fields: Any) -> RetryConfig:
    if fields is None:
        return RetryConfig()
    if not isinstance(fields, dict):
        raise bad_request("inference_retry_config must be an object.")
    return RetryConfig(
        _parse_integer(fields, "max_attempts", 1, 10, 3),
        _parse_integer(fields, "initial_delay_ms", 0, 10_000, 1000),
        _parse_integer(fields, "max_delay_ms", 0, 60_000, 5000),
    )


def _parse_integer(fields: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # In JSON Schema, 1.0 is an integer.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_request(f"{name} must be an integer from {low} to {high}.")
    return value


def _parse_webhook_endpoint(value: Any) -> str | None:
    if value is None:
        return None
    try:
        url = httpx.URL(value)
    except (TypeError, httpx.InvalidURL):
        url = httpx.URL()
    if url.host and (url.scheme == "https" or (url.scheme == "http" and url.host in _LOCAL_HOSTS)):
        return str(value)
    raise bad_request("webhook_endpoint must be an https URL; http is allowed for localhost only.")


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
