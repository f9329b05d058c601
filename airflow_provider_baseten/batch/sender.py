"""Sender of requests: it turns each response into an output or a failure for each row."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from aiolimiter import AsyncLimiter

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.errors import quotable
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.batch.formats.parquet_parts import packed
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.response_json import CallableError, JsonValue, UnusableResponseError, read_response
from airflow_provider_baseten.batch.row_json import encode_value, json_value
from airflow_provider_baseten.batch.row_outputs import Outputs
from airflow_provider_baseten.batch.row_requests import RowRequest
from airflow_provider_baseten.batch.run_stats import RequestStats
from airflow_provider_baseten.batch.slots import Slots
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenRateLimitError,
    BasetenResponseError,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a row whose response can't be used as an output. Baseten bills such a response.

    :param error: why the response is not an output.
    :param response: what the server sent for this row. In a request for several rows, this is the JSON text of the
        row's part of the response. If failed rows have no such text, the first of these rows gets the whole response,
        and the others get ``None``.
    :param response_row: if ``response`` is ``None``, number of the row whose failure holds the whole response.
    """

    error: BasetenError
    response: bytes | None = None
    response_row: int | None = None


class Sender:
    """Sends the requests of a job.

    The attribute ``stats`` counts the requests.

    :param slots: limits the requests in flight. A request that waits for its next attempt frees its slot. If the server
        rejected the request because of a rate limit or load, the slot is freed a little later, so that the next request
        does not follow at once.
    """

    def __init__(self, plan: BatchPlan, transport: AsyncTransport, slots: Slots) -> None:
        self._plan = plan
        self._job = job = plan.job
        self._filter = job.output_filter
        self._format = plan.request_format
        # Whether each request has one row, whose output is the unchanged text of the response.
        self._is_output = self._format.split is None and self._filter is None and not plan.packs_vectors
        self._request = transport.prepared(plan.request)
        self._retries = job.request_retries or RequestRetries()
        rate = job.requests_per_second
        # A burst has at most as many requests as the rate allows in 0.1 s, but at least one. A server that enforces the
        # same rate would reject a larger burst.
        self._limiter = None if rate is None else AsyncLimiter(max(1.0, rate / 10), max(0.1, 1 / rate))
        self._transport = transport
        self._slots = slots
        self.stats = RequestStats()

    async def send(self, request: RowRequest) -> list[bytes | Failure]:
        """Send a request, with retries, and return an output or a failure for each of its rows.

        An output is JSON on one line. If the part files hold vectors, it is a vector packed as 32-bit floats.

        :raises BasetenError: the error of the last attempt, if no attempt got a successful response.
        """
        # A plain loop, because tenacity would add a fifth to the CPU time of a request that needs no retry.
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._attempt(request.body)
            except BasetenError as error:
                pause = self._retries.pause(error, self._request, attempt, time.monotonic() - began)
                if pause is None:
                    self.stats.errors[type(error)] += 1
                    raise
                self.stats.retries += 1
                # A server rejects a request fast. If the rejected request freed its slot at once, another one would be
                # sent and rejected too. So the slot stays taken for as long as a response takes on average.
                kept = self.stats.latency if isinstance(error, BasetenRateLimitError) else 0.0
            else:
                self.stats.succeeded += 1
                return self._outcomes(request, response)
            await self._slots.pause(pause, kept)

    def report(self) -> None:
        """Report the requests since the last report to the observer of the client."""
        self._transport.report_attempts(self._request, self.stats.new_counts())

    async def _attempt(self, body: bytes) -> Response:
        if self._limiter is not None:
            await self._limiter.acquire()
        began = time.monotonic()
        self.stats.sent += 1
        try:
            response = await self._transport.attempt(self._request, body)
        except BasetenRateLimitError:
            self.stats.rejected += 1
            raise
        except (BasetenInputError, BasetenModelError):
            self.stats.add_response(time.monotonic() - began)
            raise
        self.stats.add_response(time.monotonic() - began)
        return response

    def _outcomes(self, request: RowRequest, response: Response) -> list[bytes | Failure]:
        outputs: list[JsonValue | UnusableResponseError | BasetenError]
        try:
            value = read_response(response, as_json=self._job.preset != "predict")
            self.stats.add_usage(value.value)
            if self._is_output and value.text is not None:
                return [value.text]
            outputs = [*self._split(request, value)]
        except (BasetenError, UnusableResponseError) as error:
            outputs = [error] * len(request.numbers)
        outcomes: list[bytes | Failure] = []
        holder = None
        for number, output in zip(request.numbers, outputs, strict=True):
            outcome = self._outcome(output, response, request.body)
            if isinstance(outcome, bytes):
                outcomes.append(outcome)
            elif len(outputs) > 1 and (part := _part_of(output)) is not None:
                outcomes.append(Failure(outcome, part))
            elif holder is None:
                outcomes.append(Failure(outcome, response.body))
                holder = number
            else:
                outcomes.append(Failure(outcome, response_row=holder))
        return outcomes

    def _split(self, request: RowRequest, value: JsonValue) -> Outputs:
        split = self._format.split
        return [value] if split is None else split(value, request.inputs or [], self._plan.parameters)

    def _outcome(
        self, output: JsonValue | UnusableResponseError | BasetenError, response: Response, body: bytes
    ) -> bytes | BasetenError:
        try:
            if isinstance(output, JsonValue):
                return self._encoded(output)
            raise output
        except UnusableResponseError as error:
            problem = str(error)
            if not isinstance(error, CallableError):
                problem = quotable(problem, replace(self._request, body=body)) or "is not an output"
            return BasetenResponseError(
                f"The response to {self._request.subject} {problem}{id_note(response.request_id)}.",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            )
        except BasetenError as error:
            return error

    def _encoded(self, output: JsonValue) -> bytes:
        if self._plan.packs_vectors:
            vector = packed(output.value)
            if vector is None:
                raise UnusableResponseError("holds a vector with a number that is too large for 32 bits")
            return vector
        if self._filter is not None:
            return _encoded("output_filter", self._filtered(output))
        return _encoded("output", output.value) if output.text is None else output.text

    def _filtered(self, output: JsonValue) -> Any:
        assert self._filter is not None  # noqa: S101
        try:
            return self._filter(output.value if self._job.preset == "embeddings" else output.exact)
        except BasetenError:
            raise
        except Exception as error:
            raise CallableError(f"was not taken by output_filter, which {raised(error)}") from None


def _part_of(output: JsonValue | UnusableResponseError | BasetenError) -> bytes | None:
    part = output.part if isinstance(output, UnusableResponseError) else output
    return part.text if isinstance(part, JsonValue) else None


def _encoded(name: str, value: Any) -> bytes:
    try:
        return encode_value(name, value)
    except BasetenInputError as error:
        with suppress(TypeError, ValueError, RecursionError):
            # `encode` refuses lone surrogates. JSON can hold them as escapes, and encode_output writes these escapes.
            text = exact_json.encode_output(json_value(value))
            json.loads(text, parse_int=str, parse_float=str, parse_constant=exact_json.refuse_constant)
            return text
        raise UnusableResponseError(f"has no form in JSON: {str(error).rstrip('.')}") from None
