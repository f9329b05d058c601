"""Async predict: the requests that queue a prediction, read its status and cancel it."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypedDict
from urllib.parse import urlsplit

from airflow_provider_baseten.api import advice
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.api.http import JSON, MAX_STATUS_BYTES, Request, checked_headers
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.api.target import Target, check_target, is_request_id
from airflow_provider_baseten.arguments import check_count, check_texts, shown
from airflow_provider_baseten.exceptions import (
    BasetenInputError,
    BasetenPayloadTooLargeError,
    BasetenResponseError,
)

MAX_ASYNC_BODY_BYTES = 262_144

# Path of a webhook endpoint of the receiver whose deliveries start DAGs.
_EVENTS = r".*/webhooks/[^/]+/events/?"


class AsyncStatus(StrEnum):
    """``status`` of an async request."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    WEBHOOK_FAILED = "WEBHOOK_FAILED"


class InferenceRetryConfig(TypedDict, total=False):
    """Baseten's own retries of a model that fails.

    :param max_attempts: attempts including the first, 1 to 10, by default 3.
    :param initial_delay_ms: milliseconds before the second attempt, 0 to 10000, by default 1000; the delay doubles
        before each later attempt.
    :param max_delay_ms: upper bound of the delay in milliseconds, 0 to 60000, by default 5000.
    """

    max_attempts: int
    initial_delay_ms: int
    max_delay_ms: int


class AsyncPredictOptions(TypedDict, total=False):
    """Options of an async predict.

    :param webhook_endpoint: URL that Baseten delivers the output to.
    :param priority: from 0 (runs first; the default) to 2.
    :param max_time_in_queue_seconds: seconds that a request waits in the queue before it expires, 10 to 259200, by
        default 600.
    :param inference_retry_config: Baseten's own retries of a model that fails.
    :param headers: extra HTTP headers.
    """

    webhook_endpoint: str | None
    priority: int | None
    max_time_in_queue_seconds: int | None
    inference_retry_config: InferenceRetryConfig | None
    headers: Mapping[str, str] | None


_BOUNDS = {"priority": (0, 2), "max_time_in_queue_seconds": (10, 259_200)}


_RETRY_BOUNDS = {"max_attempts": (1, 10), "initial_delay_ms": (0, 10_000), "max_delay_ms": (0, 60_000)}


def build_async_predict(
    target: Target,
    model_input: Any,
    *,
    webhook_endpoint: str | None = None,
    priority: int | None = None,
    max_time_in_queue_seconds: int | None = None,
    inference_retry_config: InferenceRetryConfig | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """Build the request that queues a prediction; see :class:`AsyncPredictOptions`.

    If Baseten may have accepted the request before a failure, the request is not sent again. Baseten has no idempotency
    keys, so a second request could run the model a second time.

    :param model_input: any JSON value; for a chain an object with the arguments of ``run_remote``.
    :raises BasetenInputError: a value is out of bounds or the input can't be encoded as JSON.
    :raises BasetenPayloadTooLargeError: the body is over 256 KiB.
    """
    check_target(target)
    if target.chain_id is not None and not isinstance(model_input, Mapping):
        raise BasetenInputError(
            f"model_input of a chain is an object with the arguments of run_remote, not a {type(model_input).__name__}."
        )
    check_options(priority, max_time_in_queue_seconds, inference_retry_config)
    options = {
        "webhook_endpoint": None if webhook_endpoint is None else checked_webhook_endpoint(webhook_endpoint),
        "priority": priority,
        "max_time_in_queue_seconds": max_time_in_queue_seconds,
        "inference_retry_config": inference_retry_config,
    }
    given = {name: value for name, value in options.items() if value is not None}
    body = encode_json("model_input", {"model_input": model_input} | given)
    if len(body) > MAX_ASYNC_BODY_BYTES:
        raise BasetenPayloadTooLargeError(
            f"The async request has {len(body):,} bytes, Baseten takes at most {MAX_ASYNC_BODY_BYTES:,}: "
            "put the data on object storage and pass its address, or use predict."
        )
    return Request(
        method="POST",
        host=target.host,
        path=target.path("async_predict"),
        subject=f"async predict of {target}",
        headers=checked_headers(headers) | {"Content-Type": JSON},
        body=body,
        # A 502 may mean that only the response was lost. Then the request is in the queue and may still run. A
        # synchronous predict does not list 502, because the predict ends with its connection and can't run later.
        doubtful_statuses=frozenset({502}),
        max_response_bytes=MAX_STATUS_BYTES,
        advice=advice.SUBMISSION,
    )


def check_options(
    priority: int | None, max_time_in_queue_seconds: int | None, inference_retry_config: InferenceRetryConfig | None
) -> None:
    """Check the numbers in :class:`AsyncPredictOptions`.

    :raises BasetenInputError: a number is out of bounds.
    """
    _check_bounds("", {"priority": priority, "max_time_in_queue_seconds": max_time_in_queue_seconds}, _BOUNDS)
    if not isinstance(inference_retry_config, Mapping | None):
        raise BasetenInputError(f"inference_retry_config={shown(inference_retry_config)} is not an object.")
    _check_bounds("inference_retry_config.", inference_retry_config or {}, _RETRY_BOUNDS)


def longest_run(max_time_in_queue_seconds: int | None, retry_config: InferenceRetryConfig | None) -> float:
    """Return the longest time in seconds that a request can take.

    The time consists of the time in the queue, an hour for each attempt, and 10 minutes, which are enough for the
    delays between attempts. If an argument is missing, Baseten's default is used.
    """
    attempts = (retry_config or {}).get("max_attempts") or 3
    return (max_time_in_queue_seconds or 600) + attempts * 3600.0 + 600


def build_status(target: Target, request_id: str) -> Request:
    """Build the request for the status of an async request."""
    return _about_one("GET", "status", target, request_id)


def build_cancel(target: Target, request_id: str) -> Request:
    """Build the request that cancels an async request. Baseten cancels only requests that are still queued."""
    return _about_one("DELETE", "cancel", target, request_id)


def build_queue_status(target: Target) -> Request:
    """Build the request for the length of the async queue."""
    check_target(target)
    path = target.path("async_queue_status")
    return _status_request("GET", target.host, path, f"async queue of {target}", advice.DEPLOYMENT)


def _about_one(method: str, what: str, target: Target, request_id: str) -> Request:
    check_target(target)
    path = target.async_request_path(request_id)
    called = f"chain {target.chain_id}" if target.model_id is None else f"model {target.model_id}"
    subject = f"{what} of async request {request_id} of {called}"
    return _status_request(method, target.host, path, subject, advice.of_async_request(called))


def _status_request(method: str, host: str, path: str, subject: str, what_next: Advice) -> Request:
    return Request(
        method=method,
        host=host,
        path=path,
        subject=subject,
        idempotent=True,
        max_response_bytes=MAX_STATUS_BYTES,
        advice=what_next,
    )


def request_id_of(output: Any, subject: str) -> str:
    """Return the request id in the response to a submission.

    :raises BasetenResponseError: the id is missing or not valid. The request may run, but without the id its status
        can't be read.
    """
    request_id = output.get("request_id") if isinstance(output, Mapping) else None
    if not is_request_id(request_id):
        raise BasetenResponseError(
            f"{subject} was accepted, but the response has no valid request_id: the request may run, and its result "
            "can't be found. Check for a proxy in between, and the Host (the Base URL) of the connection; check the "
            "queue of the deployment before sending it again.",
            may_have_run=True,
        )
    return request_id


def _check_bounds(prefix: str, values: Mapping[str, Any], bounds: Mapping[str, tuple[int, int]]) -> None:
    for name, value in values.items():
        if name not in bounds:
            unknown = name if isinstance(name, str) else shown(name)
            raise BasetenInputError(f"{prefix}{unknown} is unknown; the fields are {', '.join(bounds)}.")
        low, high = bounds[name]
        if value is not None:
            check_count(f"{prefix}{name}", value, low, high)


def checked_webhook_endpoint(url: str) -> str:
    """Return a webhook endpoint if Baseten can deliver to it.

    :raises BasetenInputError: it is not an absolute URL, or is http to another host than this machine.
    """
    check_texts(webhook_endpoint=url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not url.isprintable() or " " in url:
        raise BasetenInputError(
            "webhook_endpoint is not an absolute URL such as https://airflow.example.com/baseten/..."
        )
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise BasetenInputError("webhook_endpoint must be https: Baseten delivers over http to localhost only.")
    return url


def check_endpoint_of_wait(url: str | None) -> None:
    """Check that deliveries to the webhook endpoint of a request that a task waits for start no DAGs.

    :param url: the webhook endpoint, ``None`` for no delivery.
    :raises BasetenInputError: its deliveries start DAGs, because its path ends with ``/events``.
    """
    if url is not None and re.fullmatch(_EVENTS, urlsplit(checked_webhook_endpoint(url)).path):
        raise BasetenInputError(
            f"Deliveries to webhook_endpoint={shown(url)} start DAGs, because no task waits for them: remove "
            "/events, or set wait_for_completion=False."
        )
