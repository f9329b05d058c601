"""Webhook deliveries with the results of async requests, and checks of their signature and age."""

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_baseten import config
from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.async_failure import Quote, advice_for_status, errors_excerpt, first_error_code
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenResultLostError,
)

# By default, the time in a delivery may differ from now by up to this number of seconds.
TOLERANCE = config.WEBHOOK_TOLERANCE_SECONDS.default

# Maximum number of signatures in a header. Baseten sends one for each valid secret, so at most two during a rotation.
_MAX_SIGNATURES = 16
_SIGNATURE = re.compile(r"v1=([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Body of a webhook request.

    :param request_id: id of the async request.
    :param data: the model's output.
    :param errors: the errors, as received; empty for a success.
    :param time: time of sending, as Baseten writes it; ``None`` if it is missing.
    :param is_whole: whether the delivery has an outcome: an output or an error. ``"data": null`` counts as an output
        only if the delivery also has ``"errors": []``.
    """

    request_id: str
    data: Any
    errors: Any
    time: str | None
    is_whole: bool

    @classmethod
    def parse(cls, body: bytes) -> "Delivery":
        """Parse the body of a webhook request; numbers keep every digit.

        :raises ValueError: the body is not a delivery of Baseten.
        """
        payload = exact_json.decode(body)
        if not isinstance(payload, dict) or not isinstance(payload.get("request_id"), str):
            raise ValueError("not an object with a request_id")
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

        :param quote: function that takes an error message, and returns the message without quotes from the model's
            input. By default the message stays unchanged.
        :raises BasetenAsyncRequestError: the request failed.
        :raises BasetenResultLostError: the delivery has neither an output nor an error.
        """
        if self.errors:
            words = errors_excerpt(self.errors, quote)
            raise BasetenAsyncRequestError(
                f"Async request {self.request_id} ended as FAILED{words}. {advice_for_status('FAILED')}",
                request_id=self.request_id,
                retryable=True,
                error_code=first_error_code(self.errors),
                may_have_run=True,
            )
        if not self.is_whole:
            raise BasetenResultLostError(
                f"Async request {self.request_id} was delivered with neither an output nor an error: the outcome is "
                "unknown. A retry looks again and sends nothing; clear the task that sent it to run the model "
                "again.",
                request_id=self.request_id,
                may_have_run=True,
            )
        return self.data


def _all_errors(body: bytes) -> Any:
    """Return the first value of the key ``errors`` that is not empty; if there is none, the last value of the key.

    A delivery may repeat the key. A JSON decoder keeps only the last value, so an earlier error could be lost.
    """
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs
        return dict(pairs)

    json.loads(body.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=keep)
    found = [value for name, value in outermost if name == "errors"]
    return next(filter(None, found), found[-1] if found else None)


def verify(body: bytes, header: str, secrets: Sequence[str]) -> bool:
    """Return whether one of the signatures was made with one of the secrets.

    While secrets are rotated, the header has several signatures and there are several secrets, in any order. So each
    signature is compared with each secret.

    The time of the comparisons does not depend on their results: a comparison does not stop at the first wrong
    character, and a match does not end the comparisons. So a sender can't learn from the time how close a forged
    signature is.

    :param body: the bytes as received.
    :param header: ``X-BASETEN-SIGNATURE``: items ``v1=<hex>`` separated by commas. Other items are ignored; a header
        with more than 16 items is not from Baseten and is refused.
    :param secrets: the secrets, with their prefix ``whsec_``. Empty ones are ignored, because anybody could sign with
        them.
    """
    items = header.split(",", _MAX_SIGNATURES)
    if len(items) > _MAX_SIGNATURES:
        return False
    signatures = [match[1] for item in items if (match := _SIGNATURE.fullmatch(item.strip()))]
    if not signatures:
        return False
    matches = 0
    for secret in filter(None, secrets):
        expected = hmac.digest(secret.encode(errors="surrogatepass"), body, "sha256").hex()
        # The sum compares every signature. `any` would stop at the first match, so the duration of the loop would
        # reveal which signature matched.
        matches += sum(hmac.compare_digest(expected, signature) for signature in signatures)
    return matches > 0


def is_recent(time: str | None, *, now: float, tolerance: float = TOLERANCE) -> bool:
    """Return whether a delivery's ``time`` is close enough to now.

    The clocks of sender and receiver may differ in either direction, so a time in the future is treated like one in the
    past. A missing or invalid time counts as not recent, because without an age a delivery can't be distinguished from
    a replayed copy of it.

    :param time: time in ISO 8601; without an offset it is in UTC.
    :param now: seconds since the epoch.
    :param tolerance: largest difference in seconds, by default the 300 that Baseten recommends.
    """
    try:
        moment = datetime.fromisoformat(time or "")
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return False
    return abs(now - seconds) <= tolerance
