"""The sender of a job's requests, and what their answers mean for each row."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from aiolimiter import AsyncLimiter

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.errors import quotable
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import Response
from airflow_provider_baseten.api.sync_route import build_sync_route
from airflow_provider_baseten.batch.answers import Json, UnusableAnswerError, read_answer
from airflow_provider_baseten.batch.calls import Call
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.outputs import Outputs
from airflow_provider_baseten.batch.parquet import has_vectors, packed
from airflow_provider_baseten.batch.presets import shape_of
from airflow_provider_baseten.batch.progress import Tally
from airflow_provider_baseten.batch.row_json import encode, json_value
from airflow_provider_baseten.batch.slots import Slots
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.exceptions import (
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenRateLimitError,
    BasetenResponseError,
)

if TYPE_CHECKING:
    from airflow_provider_baseten.api.target import Target


@dataclass(frozen=True, slots=True)
class Failure:
    """A row whose answer, which was paid, is not an output.

    :param error: why.
    :param answer: what the server sent for the row, or for all rows of the request.
    :param answer_row: the row of the same request that holds the answer in place of this one.
    """

    error: BasetenError
    answer: bytes | None = None
    answer_row: int | None = None


def request_of(job: BatchJob) -> Request:
    """Return the request that all calls of a job send, without its body.

    :raises BasetenInputError: the route or a header is not valid.
    """
    route = job.route or shape_of(job).route
    if route is None:  # A predict refuses the Model APIs itself.
        return build_predict(cast("Target", job.target), {}, headers=job.headers, idempotent=job.idempotent)
    return build_sync_route(job.target, route, method="POST", json={}, headers=job.headers, idempotent=job.idempotent)


class Sender:
    """Sends calls of a job.

    :param slots: limits the requests in flight; a call that waits before another attempt holds none.
    """

    def __init__(self, job: BatchJob, transport: AsyncTransport, slots: Slots, tally: Tally) -> None:
        self._job = job
        self._filter = job.output_filter
        self._packs = job.output_format == "parquet" and has_vectors(job)
        self._shape = shape_of(job)
        # Whether the text of an answer is the output of its only row.
        self._is_output = self._shape.split is None and self._filter is None and not self._packs
        self._request = transport.prepared(request_of(job))
        self._policy = job.request_retries or RequestRetries()
        rate = job.requests_per_second
        # At most a tenth of a second's share at once, so that a server's own limit of the same height is kept.
        self._limiter = None if rate is None else AsyncLimiter(max(1.0, rate / 10), max(0.1, 1 / rate))
        self._transport = transport
        self._slots = slots
        self._tally = tally

    async def send(self, call: Call) -> list[bytes | Failure]:
        """Send a call, again where the policy says so, and return each row's output or why it has none.

        An output is JSON on one line, or a packed vector where the parts hold vectors.

        :raises BasetenError: of the last attempt; there is no answer.
        """
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._attempt(call.body)
            except BasetenError as error:
                pause = self._policy.pause(error, self._request, attempt, time.monotonic() - began)
                if pause is None:
                    raise
                # A refusal takes no time. If it freed its place at once, more and more would be sent to be refused.
                kept = self._tally.latency if isinstance(error, BasetenRateLimitError) else 0.0
            else:
                return self._outcomes(call, response)
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

    def _outcomes(self, call: Call, response: Response) -> list[bytes | Failure]:
        outputs: list[Json | UnusableAnswerError | BasetenError]
        try:
            answer = read_answer(response, as_json=self._job.preset != "predict")
            self._tally.add_usage(answer.value)
            if self._is_output and answer.text is not None:
                return [answer.text]
            outputs = [*self._split(call, answer)]
        except (BasetenError, UnusableAnswerError) as error:
            outputs = [error] * len(call.numbers)
        outcomes: list[bytes | Failure] = []
        holder = None
        for number, output in zip(call.numbers, outputs, strict=True):
            outcome = self._outcome(output, response, call.body)
            if isinstance(outcome, bytes):
                outcomes.append(outcome)
            elif len(outputs) > 1 and (part := _part_of(output)) is not None:
                outcomes.append(Failure(outcome, part))
            elif holder is None:
                outcomes.append(Failure(outcome, response.body))
                holder = number
            else:
                outcomes.append(Failure(outcome, answer_row=holder))
        return outcomes

    def _split(self, call: Call, answer: Json) -> Outputs:
        split = self._shape.split
        return [answer] if split is None else split(answer, call.inputs or [], self._job.parameters or {})

    def _outcome(
        self, output: Json | UnusableAnswerError | BasetenError, response: Response, body: bytes
    ) -> bytes | BasetenError:
        try:
            if isinstance(output, Json):
                return self._encoded(output)
            raise output
        except UnusableAnswerError as error:
            trouble = quotable(str(error), replace(self._request, body=body)) or "is not an output"
            return BasetenResponseError(
                f"The answer of {self._request.subject} {trouble}{id_note(response.request_id)}.",
                status=response.status,
                request_id=response.request_id,
                may_have_run=True,
            )
        except BasetenError as error:
            return error

    def _encoded(self, output: Json) -> bytes:
        if self._packs:
            vector = packed(output.value)
            if vector is None:
                raise UnusableAnswerError("holds a vector with a number that is too large for 32 bits")
            return vector
        if self._filter is not None:
            return _encoded("output_filter", self._filtered(output))
        return _encoded("output", output.value) if output.text is None else output.text

    def _filtered(self, output: Json) -> Any:
        assert self._filter is not None  # noqa: S101
        try:
            return self._filter(output.value if self._job.preset == "embeddings" else output.exact)
        except BasetenError:
            raise
        except Exception as error:
            raise UnusableAnswerError(f"was not taken by output_filter, which raised {type(error).__name__}") from None


def _part_of(output: Json | UnusableAnswerError | BasetenError) -> bytes | None:
    part = output.part if isinstance(output, UnusableAnswerError) else output
    return part.text if isinstance(part, Json) else None


def _encoded(name: str, value: Any) -> bytes:
    try:
        return encode(name, value)
    except BasetenInputError as error:
        with suppress(TypeError, ValueError, RecursionError):
            text = exact_json.encode_output(json_value(value))  # Lone surrogates become escapes.
            json.loads(text, parse_int=str, parse_float=str, parse_constant=exact_json.refuse_constant)
            return text
        raise UnusableAnswerError(f"has no form in JSON: {str(error).rstrip('.')}") from None
