"""Webhook deliveries: the output or the errors of one async request."""

import json
from dataclasses import dataclass
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.async_failure import Quote, error_words, failure_advice, first_code
from airflow_provider_baseten.exceptions import (
    BasetenAsyncRequestError,
    BasetenResultLostError,
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
            words = error_words(self.errors, quote)
            raise BasetenAsyncRequestError(
                f"Async request {self.request_id} ended as FAILED{words}. {failure_advice('FAILED')}",
                request_id=self.request_id,
                retryable=True,
                error_code=first_code(self.errors),
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
