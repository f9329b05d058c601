"""Runs a job: rows in, requests in flight, parts and a manifest out."""

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import orjson
from aiolimiter import AsyncLimiter

from airflow_provider_baseten.api import requests
from airflow_provider_baseten.api.requests import Request
from airflow_provider_baseten.api.responses import Response, model_output
from airflow_provider_baseten.batch.calls import Call, Encoder, encode
from airflow_provider_baseten.batch.fingerprint import fingerprint
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.manifest import Manifest
from airflow_provider_baseten.batch.parts import Earlier, OutputFolder
from airflow_provider_baseten.batch.presets import outputs_of, shape_of
from airflow_provider_baseten.batch.progress import Latencies, Progress
from airflow_provider_baseten.batch.rows import Source, open_source
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenBatchError,
    BasetenError,
    BasetenInputError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenResponseError,
)
from airflow_provider_baseten.transport import AsyncTransport, RetryPolicy

PART_ROWS = 1000
PART_BYTES = 64 << 20
PART_SECONDS = 30.0
PROGRESS_SECONDS = 10.0

# After a stop, how long requests in flight may go on: together with writing the last part it stays below 5 seconds.
GRACE_SECONDS = 2.5

_BLOCK_ROWS = 256
_BLOCK_BYTES = 8 << 20
_TICK_SECONDS = 0.1

OnProgress = Callable[[Progress], object]


def run_batch(
    job: BatchJob,
    *,
    api_key: str,
    auth_scheme: str = "Bearer",
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Run a job and block until it has ended.

    Parts are written while it runs, each of them whole, and the manifest last. Killed at any moment, the next run of
    the same job sends only rows that have no output yet: of what was sent, at most the requests in flight and one open
    part are sent again. A job that is complete and without failed rows is not run again; its manifest is returned.

    :param job: what to do.
    :param api_key: sent with every request.
    :param auth_scheme: ``Bearer`` (default) or ``Api-Key``.
    :param stop: ends the run within 5 seconds once it is set, by a signal handler or another thread.
    :param on_progress: called every 10 seconds.
    :returns: the manifest; after a stop one that is not ``complete``, and not written.
    :raises BasetenInputError: the input can't be read or lacks a column, or the output folder is another job's; nothing
        was sent.
    :raises BasetenResultStoreError: the output can't be written.
    :raises BasetenBatchError: more rows have failed than the job allows.
    :raises BasetenAuthError: the key was refused.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(arun_batch(job, api_key=api_key, auth_scheme=auth_scheme, stop=stop, on_progress=on_progress))


async def arun_batch(
    job: BatchJob,
    *,
    api_key: str,
    auth_scheme: str = "Bearer",
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Run a job without blocking the event loop; see :func:`run_batch`. A cancelled run writes its last part."""
    source = await asyncio.to_thread(open_source, job)
    mark = await asyncio.to_thread(fingerprint, job, source.files, source.sample)
    folder = OutputFolder(job, mark)
    await asyncio.to_thread(folder.claim)
    former = await asyncio.to_thread(folder.manifest)
    if former is not None and former.fingerprint == mark and not former.failed:
        return former
    earlier = await asyncio.to_thread(folder.earlier)
    transport = AsyncTransport(api_key, auth_scheme, read_timeout=job.timeout)
    try:
        run = _Run(job, mark, folder, earlier, source, transport, stop or threading.Event(), on_progress)
        return await run.run()
    finally:
        await transport.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


def _request_of(job: BatchJob) -> Request:
    """Return the request that all calls of a job send, without its body."""
    route = job.route or shape_of(job).route
    if route is None:
        return requests.predict(job.target, {}, headers=job.headers, idempotent=job.idempotent)
    return requests.sync_route(
        job.target, route, method="POST", json={}, headers=job.headers, idempotent=job.idempotent
    )


def _limiter(rate: float | None) -> AsyncLimiter | None:
    """Spread requests evenly: at most a tenth of a second's share, or one, at once."""
    return None if rate is None else AsyncLimiter(max(1.0, rate / 10), max(0.1, 1 / rate))


class _Run:
    """One run of a job."""

    def __init__(
        self,
        job: BatchJob,
        mark: str,
        folder: OutputFolder,
        earlier: Earlier,
        source: Source,
        transport: AsyncTransport,
        stop: threading.Event,
        on_progress: OnProgress | None,
    ) -> None:
        self._job = job
        self._mark = mark
        self._folder = folder
        self._earlier = earlier
        self._source = source
        self._transport = transport
        self._stop = stop
        self._on_progress = on_progress
        self._shape = shape_of(job)
        self._request = _request_of(job)
        self._policy = job.retry_policy or RetryPolicy()
        self._limiter = _limiter(job.requests_per_second)
        self._encoder = Encoder(job)
        self._calls: Iterator[Call] = self._encoder.calls(source.rows, self._wanted)
        self._ready: deque[Call] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._exhausted = False
        self._limit = 64 if job.max_concurrency == "auto" else job.max_concurrency
        self._outputs: list[tuple[int, bytes]] = []
        self._failures: list[tuple[int, bytes]] = []
        self._open_bytes = 0
        self._open_since = time.monotonic()
        self._unsaved = 0
        self._saved = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None
        self._parts = list(earlier.parts)
        self._failed_parts: list[str] = []
        self._sequence = earlier.sequence
        self._error: BaseException | None = None
        self._ending = asyncio.Event()
        self._started = time.monotonic()
        self._sent = 0
        self._outcomes: Counter[str] = Counter()
        self._usage: Counter[str] = Counter()
        self._latencies = Latencies()
        self._reported = (self._started, 0)

    def _wanted(self, number: int) -> bool:
        if self._job.only_failed and number not in self._earlier.failed:
            return False
        return number not in self._earlier.done

    async def run(self) -> Manifest:
        """Send all rows, and write parts and manifest."""
        workers = asyncio.gather(*(self._work() for _ in range(self._limit)))
        ticker = asyncio.create_task(self._tick())
        try:
            waiter = asyncio.create_task(self._ending.wait())
            await asyncio.wait({workers, waiter}, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
        finally:
            ticker.cancel()
            if not workers.done():
                workers.cancel()
            await asyncio.gather(workers, ticker, return_exceptions=True)
            if self._filling is not None:
                await asyncio.gather(self._filling, return_exceptions=True)
            await self._save_all()
        if self._error is None and workers.done() and not workers.cancelled() and workers.exception():
            self._error = workers.exception()
        return await self._end()

    async def _work(self) -> None:
        try:
            while (call := await self._take()) is not None:
                await self._do(call)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    async def _do(self, call: Call) -> None:
        if call.error is not None:
            self._fail_rows(call, call.error)
            return
        started = time.monotonic()
        try:
            response = await self._exchange(call.body)
            outputs = self._read(call, response)
        except BasetenError as error:
            if isinstance(error, BasetenInputError | BasetenPayloadTooLargeError) and len(call.numbers) > 1:
                for half in self._encoder.halves(call):
                    await self._do(half)
                return
            self._check_hopeless(error)
            self._fail_rows(call, error)
            return
        self._latencies.add(time.monotonic() - started)
        for number, kept, output in zip(call.numbers, call.kept, outputs, strict=True):
            line = b'{"row":%d%b,"output":%b}\n' % (number, kept, output)
            self._outputs.append((number, line))
            self._open_bytes += len(line)
        self._outcomes["success"] += len(outputs)
        self._close_full_part()

    async def _exchange(self, body: bytes) -> Response:
        """Send a request, again where the policy says so."""
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            if self._limiter is not None:
                await self._limiter.acquire()
            try:
                self._sent += 1
                return await self._transport.attempt(self._request, body)
            except BasetenError as error:
                pause = self._policy.pause(error, self._request, attempt, time.monotonic() - started)
                if pause is None or self._stop.is_set():
                    raise
            await asyncio.sleep(pause)

    def _read(self, call: Call, response: Response) -> list[bytes]:
        """Return the JSON of each row's output."""
        body, value = _decoded(response)
        if isinstance(value, dict) and isinstance(usage := value.get("usage"), dict):
            self._usage.update({key: count for key, count in usage.items() if isinstance(count, int)})
        if call.inputs is None and self._job.output_filter is None:
            return [body.replace(b"\n", b" ") if b"\n" in body else body]
        outputs = outputs_of(self._shape, value, call.inputs or [None])
        return [encode("output_filter", self._filtered(output)) for output in outputs]

    def _filtered(self, output: Any) -> Any:
        if self._job.output_filter is None:
            return output
        try:
            return self._job.output_filter(output)
        except BasetenError:
            raise
        except Exception as error:
            raise BasetenResponseError(
                f"output_filter raised {type(error).__name__} for the output of a row.", may_have_run=True
            ) from None

    def _fail_rows(self, call: Call, error: BasetenError) -> None:
        details = orjson.dumps(
            {
                "type": type(error).__name__,
                "message": str(error),
                "status": error.status,
                "error_code": error.error_code,
                "request_id": error.request_id,
                "may_have_run": error.may_have_run,
            }
        )
        for number, kept in zip(call.numbers, call.kept, strict=True):
            self._failures.append((number, b'{"row":%d%b,"error":%b}\n' % (number, kept, details)))
            self._open_bytes += len(details)
        self._outcomes[type(error).__name__] += len(call.numbers)
        most = self._job.max_failed_rows
        if most is not None and self._failed > most:
            self._fail(BasetenBatchError(f"{self._failed} rows have failed, max_failed_rows allows {most}."))
        self._close_full_part()

    @property
    def _failed(self) -> int:
        return self._outcomes.total() - self._outcomes["success"]

    def _check_hopeless(self, error: BasetenError) -> None:
        """Raise an error that every row would run into."""
        nothing_worked = not self._outcomes["success"] and not self._earlier.done.count
        if isinstance(error, BasetenAuthError) or (isinstance(error, BasetenNotFoundError) and nothing_worked):
            raise error

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._ending.set()

    async def _take(self) -> Call | None:
        """Return the next request to send, ``None`` if there is none.

        What is sent and not yet in a part is bounded: that much is sent again after a crash.
        """
        while not self._stop.is_set() and self._error is None:
            if self._unsaved >= PART_ROWS + self._limit * self._job.rows_per_request:
                self._saved.clear()
                await self._saved.wait()
            elif self._ready:
                call = self._ready.popleft()
                self._unsaved += len(call.numbers)
                if len(self._ready) < _BLOCK_ROWS // 2:
                    self._fill()
                return call
            elif self._exhausted and self._filling is None:
                return None
            else:
                await asyncio.shield(self._fill())
        return None

    def _fill(self) -> "asyncio.Task[None]":
        if self._filling is None:
            self._filling = asyncio.create_task(self._read_block())
        return self._filling

    async def _read_block(self) -> None:
        try:
            block = [] if self._exhausted else await asyncio.to_thread(_block, self._calls)
            self._exhausted = not block
            self._ready.extend(block)
        finally:
            self._filling = None

    def _close_full_part(self) -> None:
        if (
            len(self._outputs) + len(self._failures) >= PART_ROWS or self._open_bytes >= PART_BYTES
        ) and not self._saving:
            self._saving = asyncio.create_task(self._save())

    async def _save(self) -> None:
        """Write what has an outcome as parts, as long as there is enough of it."""
        try:
            await self._save_part()
            while len(self._outputs) + len(self._failures) >= PART_ROWS:
                await self._save_part()
        except BaseException as error:
            self._fail(error)
        finally:
            self._saving = None

    async def _save_part(self) -> None:
        outputs, self._outputs = self._outputs[:PART_ROWS], self._outputs[PART_ROWS:]
        room = PART_ROWS - len(outputs)
        failures, self._failures = self._failures[:room], self._failures[room:]
        self._open_bytes = 0
        self._open_since = time.monotonic()
        self._sequence += 1
        if outputs:
            self._parts.append(await asyncio.to_thread(self._folder.write, self._sequence, outputs))
        if failures:
            write = asyncio.to_thread(self._folder.write, self._sequence, failures, failed=True)
            self._failed_parts.append(await write)
        self._unsaved -= len(outputs) + len(failures)
        self._saved.set()

    async def _save_all(self) -> None:
        if self._saving is not None:
            await self._saving
        while self._outputs or self._failures:
            await self._save_part()

    async def _tick(self) -> None:
        """What depends on time: stopping, parts that are open for long, progress."""
        stopped_at = None
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if self._stop.is_set():
                stopped_at = stopped_at or now
                self._saved.set()
                if now > stopped_at + GRACE_SECONDS:
                    self._ending.set()
            if (self._outputs or self._failures) and now > self._open_since + PART_SECONDS and not self._saving:
                self._saving = asyncio.create_task(self._save())
            if now >= self._reported[0] + PROGRESS_SECONDS and self._on_progress:
                self._report(now, self._on_progress)

    def _report(self, now: float, on_progress: OnProgress) -> None:
        then, before = self._reported
        done = self._outcomes.total()
        self._reported = (now, done)
        rate = (done - before) / (now - then)
        total = self._source.total
        left = None if total is None else max(0, total - self._earlier.done.count - done)
        on_progress(
            Progress(
                rows=self._earlier.done.count + done,
                total=total,
                failed=self._failed,
                rows_per_second=round(rate, 1),
                concurrency=self._limit,
                eta_seconds=None if left is None or not rate else round(left / rate, 1),
            )
        )

    async def _end(self) -> Manifest:
        seconds = time.monotonic() - self._started
        done = self._outcomes.total()
        complete = self._exhausted and not self._ready and self._unsaved == 0
        manifest = Manifest(
            fingerprint=self._mark,
            complete=complete,
            rows=self._earlier.done.count + done,
            succeeded=self._earlier.done.count + self._outcomes["success"],
            failed=self._failed,
            sent=self._sent,
            outcomes=dict(self._outcomes),
            parts=self._folder.uris(self._parts),
            failed_parts=self._folder.uris(self._failed_parts),
            seconds=round(seconds, 3),
            rows_per_second=round(done / seconds, 1) if seconds else 0.0,
            latency=self._latencies.summary(),
            usage=dict(self._usage),
            num_shards=self._job.num_shards,
            shard=self._job.shard,
        )
        if self._error is not None:
            raise self._error
        if complete:
            await asyncio.to_thread(self._folder.commit, manifest, self._earlier.failed_parts)
        return manifest


def _block(calls: Iterator[Call]) -> list[Call]:
    block = []
    size = 0
    for call in islice(calls, _BLOCK_ROWS):
        block.append(call)
        size += len(call.body)
        if size >= _BLOCK_BYTES:
            break
    return block


def _decoded(response: Response) -> tuple[bytes, Any]:
    """Return the JSON of an answer and its value.

    :raises BasetenResponseError: the answer is not what it says it is, or has no form in JSON.
    """
    if response.is_json and response.body:
        with contextlib.suppress(orjson.JSONDecodeError):
            return response.body, orjson.loads(response.body)
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
