"""Async inference: what is submitted, what its status says, what a webhook delivers."""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self, TypedDict
from urllib.parse import urlsplit

from airflow_provider_baseten.api import advice, exact_json
from airflow_provider_baseten.api.advice import Advice
from airflow_provider_baseten.api.requests import JSON, MAX_STATUS_BYTES, Request, checked_headers, encode_json
from airflow_provider_baseten.api.target import Target, is_request_id
from airflow_provider_baseten.arguments import check_count, check_texts, shown
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenError,
    BasetenInputError,
    BasetenPayloadTooLargeError,
    BasetenResponseError,
    BasetenResultLostError,
    BasetenTimeoutError,
)

MAX_BODY_BYTES = 262_144

# Statuses that a result may still follow although they promise none, and how long it is given, in seconds: a store that
# shows a file late, a second delivery, a status that is not yet known everywhere.
GRACE = 60.0

# What a status says of the webhook of a request that was sent without one.
_NO_WEBHOOK = "NO_WEBHOOK_PROVIDED"

_LONGEST_STATUS = 64
_EXCERPT_CHARACTERS = 500
_DEEPEST_ERROR = 4


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
    """How often Baseten runs the model again when it fails.

    :param max_attempts: attempts in all, 1 to 10, by default 3.
    :param initial_delay_ms: milliseconds before the second, 0 to 10000, by default 1000; doubled for each further one.
    :param max_delay_ms: longest wait in milliseconds, 0 to 60000, by default 5000.
    """

    max_attempts: int
    initial_delay_ms: int
    max_delay_ms: int


class AsyncPredictOptions(TypedDict, total=False):
    """Options of an async predict.

    :param webhook_endpoint: URL that Baseten delivers the output to.
    :param priority: 0 (first, the default) to 2.
    :param max_time_in_queue_seconds: seconds after which a request that has not started expires, 10 to 259200, by
        default 600.
    :param inference_retry_config: how often Baseten runs the model again.
    :param headers: further HTTP headers.
    """

    webhook_endpoint: str | None
    priority: int | None
    max_time_in_queue_seconds: int | None
    inference_retry_config: InferenceRetryConfig | None
    headers: Mapping[str, str] | None


_BOUNDS = {"priority": (0, 2), "max_time_in_queue_seconds": (10, 259_200)}
_RETRY_BOUNDS = {"max_attempts": (1, 10), "initial_delay_ms": (0, 10_000), "max_delay_ms": (0, 60_000)}


def async_predict(
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

    It is never sent again after a failure in which it may have been accepted: Baseten has no idempotency key.

    :param model_input: any JSON value; for a chain an object with the arguments of ``run_remote``.
    :raises BasetenInputError: a value is out of its bounds or the input has no JSON form.
    :raises BasetenPayloadTooLargeError: the body is over 256 KiB.
    """
    if target.chain_id is not None and not isinstance(model_input, Mapping):
        raise BasetenInputError(
            f"model_input of a chain is an object with the arguments of run_remote, not a {type(model_input).__name__}."
        )
    check_options(priority, max_time_in_queue_seconds, inference_retry_config)
    options = {
        "webhook_endpoint": None if webhook_endpoint is None else _checked_webhook(webhook_endpoint),
        "priority": priority,
        "max_time_in_queue_seconds": max_time_in_queue_seconds,
        "inference_retry_config": inference_retry_config,
    }
    given = {name: value for name, value in options.items() if value is not None}
    body = encode_json("model_input", {"model_input": model_input} | given)
    if len(body) > MAX_BODY_BYTES:
        raise BasetenPayloadTooLargeError(
            f"The async request has {len(body):,} bytes, Baseten takes at most {MAX_BODY_BYTES:,}: "
            "put the data on object storage and pass its address, or use predict."
        )
    return Request(
        method="POST",
        url=target.url("async_predict"),
        subject=f"async predict of {target}",
        headers=checked_headers(headers) | {"Content-Type": JSON},
        body=body,
        # What is queued is not lost with the answer, unlike a predict whose client has gone.
        doubtful_statuses=frozenset({502}),
        max_answer_bytes=MAX_STATUS_BYTES,
        advice=advice.SUBMISSION,
    )


def check_options(
    priority: int | None, max_time_in_queue_seconds: int | None, inference_retry_config: InferenceRetryConfig | None
) -> None:
    """Check the numbers of :class:`AsyncPredictOptions`.

    :raises BasetenInputError: one is not within its bounds.
    """
    _check_bounds("", {"priority": priority, "max_time_in_queue_seconds": max_time_in_queue_seconds}, _BOUNDS)
    if not isinstance(inference_retry_config, Mapping | None):
        raise BasetenInputError(f"inference_retry_config={shown(inference_retry_config)} is not an object.")
    _check_bounds("inference_retry_config.", inference_retry_config or {}, _RETRY_BOUNDS)


def longest_run(max_time_in_queue_seconds: int | None, retry_config: InferenceRetryConfig | None) -> float:
    """Return the seconds after which a request has an end: its time in the queue, and an hour for each attempt."""
    attempts = (retry_config or {}).get("max_attempts") or 3
    return (max_time_in_queue_seconds or 600) + attempts * 3600.0 + 600


def get_status(target: Target, request_id: str) -> Request:
    """Build the request for the status of an async request."""
    return _about_one("GET", "status", target, request_id)


def cancel(target: Target, request_id: str) -> Request:
    """Build the request that cancels an async request; only a queued one can be."""
    return _about_one("DELETE", "cancel", target, request_id)


def queue_status(target: Target) -> Request:
    """Build the request for the length of the async queue."""
    return _small("GET", target.url("async_queue_status"), f"async queue of {target}", advice.DEPLOYMENT)


def _about_one(method: str, what: str, target: Target, request_id: str) -> Request:
    url = target.async_request_url(request_id)
    called = f"chain {target.chain_id}" if target.model_id is None else f"model {target.model_id}"
    subject = f"{what} of async request {request_id} of {called}"
    return _small(method, url, subject, advice.of_async_request(called))


def _small(method: str, url: str, subject: str, what_next: Advice) -> Request:
    return Request(
        method=method, url=url, subject=subject, idempotent=True, max_answer_bytes=MAX_STATUS_BYTES, advice=what_next
    )


def request_id_of(output: Any, subject: str) -> str:
    """Return the id that an accepted submission answered.

    :raises BasetenResponseError: there is none, so the request may run without anybody knowing it.
    """
    request_id = output.get("request_id") if isinstance(output, Mapping) else None
    if not is_request_id(request_id):
        raise BasetenResponseError(
            f"{subject} was accepted, but the answer has no request_id that can be one; the request may run.",
            may_have_run=True,
        )
    return request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of an async request at one moment.

    :param delivered: whether its result is in the result store.
    :param status: its status; ``None`` if nobody could be asked.
    :param webhook_status: status of the delivery.
    :param gone: whether Baseten no longer (or not yet) knows the id.
    :param store_read: whether the result store could be looked into, where a delivery is expected.
    """

    delivered: bool = False
    status: str | None = None
    webhook_status: str | None = None
    gone: bool = False
    store_read: bool = True

    @classmethod
    def of_status(cls, output: Any) -> Self:
        """Read the answer of :func:`get_status`. What is no status says nothing: the wait goes on."""
        fields = output if isinstance(output, Mapping) else {}
        return cls(status=_status(fields.get("status")), webhook_status=_status(fields.get("webhook_status")))


class Outcome(StrEnum):
    """How waiting for an async request ended.

    ``ended``: there is a result to read, which may be an error of the model. ``failed``: it ended without a result.
    ``lost``: whether there is a result is unknown. ``timeout``: it had not ended at the deadline.
    """

    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    TIMEOUT = "timeout"

    @classmethod
    def _missing_(cls, value: object) -> "Outcome | None":
        return cls.ENDED if value == "succeeded" else None  # The word of triggers that an older version started.


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The wait for one async request: decides from what is observed, and does nothing itself.

    Blocking, deferred and sensing waits all go through :meth:`after`, so that they end alike.

    :param expects_delivery: whether the output comes by webhook; otherwise the status alone decides.
    :param is_assumed: whether that is an assumption, which a status that names the state of the webhook overrules.
    :param deadline: seconds since the epoch.
    :param doubtful_since: since when the request has been in a state that a result may still follow, while the result
        store could be looked into.
    :param outcome: how the wait ended; ``None`` while it goes on.
    """

    expects_delivery: bool
    deadline: float
    is_assumed: bool = False
    doubtful_since: float | None = None
    outcome: Outcome | None = None

    @property
    def looks_into_store(self) -> bool:
        """Whether the result may come to the result store."""
        return self.expects_delivery or self.is_assumed

    def after(self, seen: Observation, now: float) -> "Wait":
        """Return the wait as it stands after an observation.

        :param now: seconds since the epoch.
        """
        verdict = _verdict(seen, self._is_delivery_expected(seen))
        if verdict is not Outcome.LOST:
            ended = verdict or (Outcome.TIMEOUT if now >= self.deadline else None)
            still = self.doubtful_since if seen.status is None and not seen.gone else None
            return replace(self, doubtful_since=still, outcome=ended)
        if not seen.store_read:  # The result may be there, or wait in the receiver's spool for the store to work again.
            return replace(self, doubtful_since=now, outcome=Outcome.TIMEOUT if now >= self.deadline else None)
        since = now if self.doubtful_since is None else self.doubtful_since
        lost = now - since >= GRACE or now >= self.deadline
        return replace(self, doubtful_since=since, outcome=Outcome.LOST if lost else None)

    def _is_delivery_expected(self, seen: Observation) -> bool:
        if not self.is_assumed or seen.webhook_status is None:
            return self.expects_delivery
        return seen.webhook_status != _NO_WEBHOOK


def _verdict(seen: Observation, expects_delivery: bool) -> Outcome | None:
    """Say what one observation means by itself; ``LOST`` only counts when it lasts."""
    if seen.delivered:
        return Outcome.ENDED
    if seen.gone:
        return Outcome.LOST
    match seen.status:
        case AsyncStatus.FAILED | AsyncStatus.EXPIRED | AsyncStatus.CANCELED:
            return Outcome.FAILED
        case AsyncStatus.SUCCEEDED if not expects_delivery:
            return Outcome.ENDED
        case AsyncStatus.SUCCEEDED:
            return None if seen.webhook_status == "PENDING" else Outcome.LOST
        case AsyncStatus.WEBHOOK_FAILED:
            return Outcome.LOST if expects_delivery else Outcome.ENDED
    return None  # Queued, in progress, a status of the future, or nothing known.


def next_poll(polls: int, poll_interval: float, draw: float) -> float:
    """Return the seconds until the next status call: short at first, longer later, never in step with others.

    :param polls: how many there were.
    :param poll_interval: the longest wait in seconds.
    :param draw: a random number from 0 to 1.
    """
    return min(poll_interval, 1.5 ** min(polls, 50)) * (0.75 + draw / 2)


Quote = Callable[[str], str]


def error_of(
    outcome: Outcome,
    request_id: str,
    *,
    status: Mapping[str, Any] | None,
    timeout: float,
    result_store: str,
    quote: Quote = str,
) -> BasetenError:
    """Return the error for a wait that ended without a result.

    :param status: the last known answer of :func:`get_status`.
    :param timeout: seconds that were waited at most.
    :param result_store: where the result was looked for.
    :param quote: returns what may be quoted of a text of the server.
    """
    fields = status if isinstance(status, Mapping) else {}
    seen = Observation.of_status(fields)
    state, delivery, errors = seen.status, seen.webhook_status, fields.get("errors")
    if outcome is Outcome.TIMEOUT:
        return BasetenTimeoutError(
            f"Async request {request_id} had no result after {timeout:g} s; its last known status is {state}. "
            "Allow more time, or look at the queue and the replicas of the deployment.",
            request_id=request_id,
            may_have_run=True,
        )
    if outcome is Outcome.LOST:
        return BasetenResultLostError(
            f"Async request {request_id}: {_why_lost(state, delivery, result_store)} A retry looks again and sends "
            "nothing; clear the task that has sent it to run the model again.",
            request_id=request_id,
            may_have_run=True,
        )
    return BasetenAsyncRequestError(
        f"Async request {request_id} ended as {state}{_error_words(errors, quote)}. {_advice(state)}",
        request_id=request_id,
        retryable=state != AsyncStatus.CANCELED,
        error_code=_first_code(errors),
        may_have_run=state == AsyncStatus.FAILED,
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a webhook brought.

    :param request_id: id of the async request.
    :param data: the model's output.
    :param errors: what went wrong, in whatever form it came; empty for a success.
    :param time: when Baseten sent it, as it wrote it.
    :param is_whole: whether it says how the request ended: there is an output, an error, or Baseten's own form of an
        output that is null, ``"data": null, "errors": []``.
    """

    request_id: str
    data: Any
    errors: Any
    time: str | None
    is_whole: bool

    @classmethod
    def parse(cls, body: bytes) -> "Delivery":
        """Read the body of a webhook; its numbers keep every digit.

        :raises ValueError: not the JSON object that Baseten sends.
        """
        payload = exact_json.decode(body)
        if not isinstance(payload, dict) or not isinstance(payload.get("request_id"), str):
            raise ValueError("no object with a request_id")
        data, time = payload.get("data"), payload.get("time")
        errors = _all_errors(body) if body.count(b'"errors"') > 1 else payload.get("errors")
        is_null = "data" in payload and errors == [] and isinstance(errors, list)
        errors = errors or payload.get("error")
        return cls(
            request_id=payload["request_id"],
            data=data,
            errors=errors or [],
            time=time if isinstance(time, str) else None,
            is_whole=data is not None or bool(errors) or is_null,
        )

    def output(self, quote: Quote = str) -> Any:
        """Return the model's output.

        :param quote: returns what may be quoted of a text of the server.
        :raises BasetenAsyncRequestError: the request failed.
        :raises BasetenResultLostError: the delivery does not say how the request ended.
        """
        if self.errors:
            words = _error_words(self.errors, quote)
            raise BasetenAsyncRequestError(
                f"Async request {self.request_id} ended as FAILED{words}. {_advice('FAILED')}",
                request_id=self.request_id,
                retryable=True,
                error_code=_first_code(self.errors),
                may_have_run=True,
            )
        if not self.is_whole:
            raise BasetenResultLostError(
                f"Async request {self.request_id} was delivered with neither an output nor an error: the outcome is "
                "unknown. A retry looks again and sends nothing; clear the task that has sent it to run the model "
                "again.",
                request_id=self.request_id,
                may_have_run=True,
            )
        return self.data


def _all_errors(body: bytes) -> Any:
    """Return the errors of a delivery that may hold the key twice: the last one must not hide the others."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs
        return dict(pairs)

    json.loads(body.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=keep)
    found = [value for name, value in outermost if name == "errors"]
    return next(filter(None, found), found[-1] if found else None)


def _check_bounds(prefix: str, values: Mapping[str, Any], bounds: Mapping[str, tuple[int, int]]) -> None:
    for name, value in values.items():
        if name not in bounds:
            raise BasetenInputError(
                f"{prefix}{name if isinstance(name, str) else shown(name)} is not known; there are {', '.join(bounds)}."
            )
        low, high = bounds[name]
        if value is not None:
            check_count(f"{prefix}{name}", value, low, high)


def _checked_webhook(url: str) -> str:
    check_texts(webhook_endpoint=url)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not url.isprintable() or " " in url:
        raise BasetenInputError(
            "webhook_endpoint is not an absolute URL such as https://airflow.example.com/baseten/..."
        )
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise BasetenInputError("webhook_endpoint must be https: Baseten delivers over http to localhost only.")
    return url


def _why_lost(state: Any, delivery: Any, result_store: str) -> str:
    if state is None:
        return (
            "Baseten does not know it, or no longer (it keeps statuses for one hour), and its result is not in "
            f"{result_store}: the outcome is unknown."
        )
    if state == AsyncStatus.SUCCEEDED and delivery == "SUCCEEDED":
        return (
            f"its result was delivered, but it is not in {result_store}. The webhook receiver and this worker do not "
            "share a result store: give both the same result_store."
        )
    if delivery == _NO_WEBHOOK:
        return "it succeeded, but without a webhook nobody was given its output."
    return f"it succeeded, but its result could not be delivered (webhook status {delivery}): look at the receiver."


def _advice(state: Any) -> str:
    match state:
        case AsyncStatus.EXPIRED:
            return "It did not start in time: raise max_time_in_queue_seconds, or allow more replicas."
        case AsyncStatus.CANCELED:
            return "Somebody cancelled it: clear the task that has sent it to send it again."
    return "Read the model's logs; a retry of the task that has sent it sends it again."


def _status(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_STATUS and value.isprintable() else None


def _error_words(errors: Any, quote: Quote) -> str:
    """Return a bounded one-line excerpt of errors in any form, in brackets."""
    text = quote("; ".join(_words_of(errors)))
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f" ({line[:_EXCERPT_CHARACTERS]})" if line else ""


def _words_of(errors: Any, depth: int = 0) -> list[str]:
    match errors:
        case None:
            return []
        case str():
            return [errors[:_EXCERPT_CHARACTERS]]
        case {"code": _} | {"message": _}:
            code, message = (_words_of(errors.get(name), depth + 1) for name in ("code", "message"))
            return [": ".join([*code, *message])]
        case dict() if depth < _DEEPEST_ERROR:
            return [word for item in itertools.islice(errors.values(), 5) for word in _words_of(item, depth + 1)]
        case list() if depth < _DEEPEST_ERROR:
            return [word for item in errors[:5] for word in _words_of(item, depth + 1)]
        case bool() | float():
            return [str(errors)]
        case int() if abs(errors) < 10**30:
            return [str(errors)]
    return [f"a value of type {type(errors).__name__}"]


def _first_code(errors: Any) -> str | None:
    items = errors if isinstance(errors, list) else [errors]
    code = next((item["code"] for item in items if isinstance(item, Mapping) and "code" in item), None)
    return code[:_EXCERPT_CHARACTERS] if isinstance(code, str) else None
