"""Sends the request of some rows, and makes of its answer an output for each of them."""

import contextlib
import time
from typing import Any

import orjson
from aiolimiter import AsyncLimiter

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.requests import Request
from airflow_provider_baseten.api.responses import Response, model_output
from airflow_provider_baseten.batch.calls import Call
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.presets import outputs_of, shape_of
from airflow_provider_baseten.batch.progress import Tally
from airflow_provider_baseten.batch.row_json import encode
from airflow_provider_baseten.batch.slots import Slots
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenRateLimitError,
    BasetenResponseError,
)
from airflow_provider_baseten.transport import AsyncTransport, RetryPolicy


def request_of(job: BatchJob) -> Request:
    """Return the request that all calls of a job send, without its body.

    :raises BasetenInputError: the route or a header is not valid.
    """
    route = job.route or shape_of(job).route
    if route is None:
        return requests.predict(job.target, {}, headers=job.headers, idempotent=job.idempotent)
    return requests.sync_route(
        job.target, route, method="POST", json={}, headers=job.headers, idempotent=job.idempotent
    )


class Sender:
    """Sends calls of a job.

    :param slots: limits the requests in flight; a call that waits before another attempt holds none.
    """

    def __init__(self, job: BatchJob, transport: AsyncTransport, slots: Slots, tally: Tally) -> None:
        self._filter = job.output_filter
        self._shape = shape_of(job)
        self._request = request_of(job)
        self._policy = job.retry_policy or RetryPolicy()
        rate = job.requests_per_second
        # At most a tenth of a second's share at once, so that a server's own limit of the same height is kept.
        self._limiter = None if rate is None else AsyncLimiter(max(1.0, rate / 10), max(0.1, 1 / rate))
        self._transport = transport
        self._slots = slots
        self._tally = tally

    async def send(self, call: Call) -> list[bytes]:
        """Send a call, again where the policy says so, and return the JSON of each row's output.

        :raises BasetenError: of the last attempt.
        """
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._outputs(call, await self._attempt(call.body))
            except BasetenError as error:
                pause = self._policy.pause(error, self._request, attempt, time.monotonic() - began)
                if pause is None:
                    raise
                # A refusal takes no time. If it freed its place at once, more and more would be sent to be refused.
                kept = self._tally.latency if isinstance(error, BasetenRateLimitError) else 0.0
            await self._slots.pause(pause, kept)

    async def _attempt(self, body: bytes) -> Response:
        if self._limiter is not None:
            await self._limiter.acquire()
        began = time.monotonic()
        self._tally.sent += 1
        try:
            response = await self._transport.attempt(self._request, body)
        except BasetenRateLimitError:
            self._tally.refused += 1
            raise
        except (BasetenInputError, BasetenModelError):
            self._tally.answered(time.monotonic() - began)
            raise
        self._tally.answered(time.monotonic() - began)
        return response

    def _outputs(self, call: Call, response: Response) -> list[bytes]:
        body, value = _decoded(response)
        if isinstance(value, dict) and isinstance(usage := value.get("usage"), dict):
            self._tally.usage.update({kind: count for kind, count in usage.items() if isinstance(count, int)})
        if call.inputs is None and self._filter is None:
            return [body]
        outputs = outputs_of(self._shape, value, call.inputs or [None])
        return [encode("output_filter", self._filtered(output)) for output in outputs]

    def _filtered(self, output: Any) -> Any:
        if self._filter is None:
            return output
        try:
            return self._filter(output)
        except BasetenError:
            raise
        except Exception as error:
            raise BasetenResponseError(
                f"output_filter raised {type(error).__name__} for the output of a row.", may_have_run=True
            ) from None


def _decoded(response: Response) -> tuple[bytes, Any]:
    """Return an answer as JSON on one line, as it came where possible, and its value.

    :raises BasetenResponseError: the answer is not what it says it is, or has no form in JSON.
    """
    body = response.body
    if response.is_json and body:
        with contextlib.suppress(orjson.JSONDecodeError):
            value = orjson.loads(body)
            # Outside of its texts JSON may hold line breaks; inside it may not.
            return (b" ".join(body.split(b"\n")).strip() if b"\n" in body else body), value
    value = model_output(response)
    try:
        return orjson.dumps(value), value
    except TypeError:
        raise BasetenResponseError(
            f"{response.request.subject} answered with {response.media_type}, which has no form in JSON.",
            status=response.status,
            request_id=response.request_id,
            may_have_run=True,
        ) from None
