"""Engine of bulk inference: it reads rows, keeps requests in flight, and writes parts and a manifest."""

import asyncio
import contextvars
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from airflow_provider_baseten.batch.concurrency import INITIAL_LIMIT
from airflow_provider_baseten.batch.concurrency_controller import ConcurrencyController, RequestCounts
from airflow_provider_baseten.batch.cores import one_core, use_all_cores
from airflow_provider_baseten.batch.failed_rows import check_any_response, check_failure_ratio, shortened
from airflow_provider_baseten.batch.failure_record import failure_record
from airflow_provider_baseten.batch.fingerprint import fingerprint_job
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.manifest import Manifest
from airflow_provider_baseten.batch.output_folder import OutputFolder
from airflow_provider_baseten.batch.part_writer import PartWriter
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.prefetcher import RequestPrefetcher
from airflow_provider_baseten.batch.previous_runs import PreviousRuns
from airflow_provider_baseten.batch.progress import Progress
from airflow_provider_baseten.batch.progress_meter import ProgressMeter
from airflow_provider_baseten.batch.row_requests import RequestEncoder, RowRequest
from airflow_provider_baseten.batch.row_source import RowSource, open_source
from airflow_provider_baseten.batch.run_stats import OutcomeStats
from airflow_provider_baseten.batch.sender import Sender
from airflow_provider_baseten.batch.slots import Slots
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.exceptions import (
    BasetenBatchError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
)

_LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0

# Seconds that requests in flight may take after a stop. This leaves time to write the last part: a run must end within
# 5 seconds of the stop.
GRACE_SECONDS = 2.5

_TICK_SECONDS = 0.1

# Errors that a single row may have caused. The other rows of its request may succeed without this row.
_ERRORS_OF_ONE_ROW = (BasetenInputError, BasetenModelError, BasetenPayloadTooLargeError)

OnProgress = Callable[[Progress], object]


def run_batch(
    job: BatchJob,
    *,
    client: Client,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Run a job and block until it has ended.

    During the run, outcomes are written as parts, files of up to 1,000 rows; the manifest is written last. After a
    crash, the next run of the same job sends only the rows without an output in a part. These are the rows that were
    not sent or have failed, the rows that were in flight, and the rows of at most one part that was not written yet. If
    an earlier run has completed the job without failed rows, nothing is sent, and the manifest of that run is returned.

    :param job: the job.
    :param client: client whose credentials are used; the run opens connections of its own. A row fails if its response
        is larger than 64 MiB, or larger than the client allows.
    :param stop: event that ends the run within 5 seconds once a signal handler or another thread sets it. Use a new
        event for each run, because this function sets the event at the end of every run.
    :param on_progress: called every 10 seconds and at the end of the run, even if the run fails, in another thread.
    :returns: the manifest. If the run was stopped before every row had an outcome, ``complete`` of the manifest is
        ``False``, and the manifest was not written.
    :raises BasetenInputError: the input can't be read or lacks a column, or the output folder belongs to another job.
        If only a later part of the input can't be read, rows before it may have been sent. In all other cases nothing
        was sent.
    :raises BasetenResultStoreError: the output can't be written.
    :raises BasetenBatchError: more rows have failed than ``max_failed_rows`` or ``max_failure_ratio`` allows. Without
        ``max_failure_ratio``, the error is also raised if every row has failed because the model was unreachable, too
        slow or overloaded. If every row has failed, but at least one for another reason, a job without these limits
        raises no error. Look at ``failed`` of the manifest: it is the number of failed rows.
    :raises BasetenAuthError: the API key was rejected.
    :raises BasetenNotFoundError: the server responded with 404 before any row of the run succeeded.
    """
    stop = stop or threading.Event()
    work = _run_job(
        job,
        client=client,
        stop=stop,
        on_progress=on_progress,
    )
    # The event loop runs in a thread of its own. In the calling thread, it would swallow an exception that a signal
    # handler raises, such as the one for Airflow's execution_timeout. The context holds the current span of a trace.
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(contextvars.copy_context().run, _in_loop, work)
        try:
            return run.result()
        finally:
            stop.set()


def _in_loop(work: Coroutine[Any, Any, Manifest]) -> Manifest:
    with one_core(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(4, initializer=use_all_cores))
        return runner.run(work)


async def _run_job(job: BatchJob, *, client: Client, stop: threading.Event, on_progress: OnProgress | None) -> Manifest:
    plan = BatchPlan.of(job)
    source = await asyncio.to_thread(open_source, plan)
    job_fingerprint = await asyncio.to_thread(fingerprint_job, job, source.files, source.sample)
    folder = OutputFolder(plan, job_fingerprint)
    await asyncio.to_thread(folder.claim)
    previous_manifest = await asyncio.to_thread(folder.manifest)
    if previous_manifest is not None and not previous_manifest.failed:
        _LOG.info("%s is already complete: nothing is sent.", job.output_path)
        return previous_manifest
    previous = await asyncio.to_thread(folder.previous_runs)
    transport = AsyncTransport(client.credentials.with_options(timeout=job.timeout), client.observer)
    try:
        run = _Run(plan, source, folder, previous, transport)
        manifest = await run.run(stop, on_progress)
    finally:
        await transport.close()
    if manifest.complete:
        await asyncio.to_thread(folder.commit, manifest, previous.failed_parts)
        await asyncio.to_thread(_check_failures, job, manifest)
    return manifest


def _check_failures(job: BatchJob, manifest: Manifest) -> None:
    if job.max_failure_ratio is None:
        check_any_response(manifest)
    else:
        check_failure_ratio(manifest, job.max_failure_ratio)


class _Run:
    """One run of a job: workers that each take a request, send it and record the outcomes of its rows."""

    def __init__(
        self,
        plan: BatchPlan,
        source: RowSource,
        folder: OutputFolder,
        previous: PreviousRuns,
        transport: AsyncTransport,
    ) -> None:
        self._job = job = plan.job
        self._source = source
        self._folder = folder
        self._previous = previous
        self._began = now = time.monotonic()
        self._rows = OutcomeStats()
        self._controller = ConcurrencyController(now) if job.max_concurrency == "auto" else None
        self._slots = Slots(INITIAL_LIMIT if job.max_concurrency == "auto" else job.max_concurrency)
        self._sender = Sender(plan, transport, self._slots)
        self._meter = ProgressMeter(job, source, previous, self._sender.stats, self._rows, began=now)
        self._encoder = RequestEncoder(plan)
        requests = self._encoder.requests(source.rows, previous.wanted(job.only_failed))
        self._prefetcher = RequestPrefetcher(requests)
        self._writer = PartWriter(folder, previous)
        self._workers: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._stopping = False
        self._error: BaseException | None = None
        self._reported = now

    async def run(self, stop: threading.Event, on_progress: OnProgress | None) -> Manifest:
        """Send the rows that have no output.

        When this method returns or raises, all outcomes so far have been written to part files.
        """
        if on_progress is not None:
            self._meter.count.start()
        ticker = asyncio.create_task(self._tick(stop, on_progress))
        ticker.add_done_callback(self._record_error)
        self._stopping = stop.is_set()
        self._start_workers()
        try:
            await self._ended.wait()
        finally:
            if stop.is_set():
                self._writer.hurry()
            tasks = [ticker, *self._workers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._prefetcher.close()
            self._meter.count.close()
            await self._writer.close()
            self._sender.report()
            if on_progress is not None:
                on_progress(self._progress(time.monotonic(), is_last=True))
        if self._error is not None:
            raise self._error
        return self._manifest()

    def _start_workers(self) -> None:
        """Start workers until there is one for each slot.

        Each request in flight holds a slot. A worker that pauses before a retry has given back its slot. If the limit
        is automatic, this method is called repeatedly, and starts one more worker for each paused one, so that the free
        slots are used. If the limit is fixed, this method is called once, and the slot of a paused worker stays free.
        """
        paused = 0 if self._controller is None else self._slots.paused
        while len(self._workers) < self._slots.limit + paused and not self._prefetcher.exhausted:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._worker_done)

    def _worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._record_error(worker)
        if not self._workers:
            self._ended.set()

    def _record_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._stop_soon()

    def _stop_soon(self) -> None:
        """Send no more requests, and wait a little for those in flight, because they are billed anyway."""
        if not self._stopping:
            self._stopping = True
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._ended.set)

    async def _work(self) -> None:
        while not self._stopping:
            await self._slots.acquire()
            try:
                await self._writer.wait_for_room(self._slots.limit * self._job.rows_per_request)
                request = await self._prefetcher.next()
                if request is None or self._stopping:
                    return
                self._writer.expect(len(request.numbers))
                await self._send(request)
            finally:
                self._slots.release()

    async def _send(self, request: RowRequest) -> None:
        try:
            if request.error is not None:
                self._rows.unsent += len(request.numbers)
                raise request.error
            outcomes = await self._sender.send(request)
        except BasetenError as error:
            await self._fail(request, error)
            return
        last = None
        for number, kept, outcome in zip(request.numbers, request.kept, outcomes, strict=True):
            if isinstance(outcome, bytes):
                self._rows.outcomes["success"] += 1
                self._writer.add(number, kept, outcome)
            else:
                last = outcome.error
                self._rows.outcomes[type(last).__name__] += 1
                record = failure_record(last, outcome.response, outcome.response_row)
                self._writer.add(number, kept, record, failed=True)
        if last is not None:
            self._check_failed_rows(last)

    async def _fail(self, request: RowRequest, error: BasetenError) -> None:
        """Record that all rows of a request have failed.

        But if a single row may have caused the error, record nothing and send each half of the rows separately.
        """
        if len(request.numbers) > 1 and isinstance(error, _ERRORS_OF_ONE_ROW):
            for half in self._encoder.halves(request):
                await self._send(half)
            return
        is_target_unknown = isinstance(error, BasetenNotFoundError) and not self._rows.succeeded
        if error.fails_all_requests or is_target_unknown:
            raise error
        record = failure_record(error)
        for number, kept in zip(request.numbers, request.kept, strict=True):
            self._writer.add(number, kept, record, failed=True)
        self._rows.outcomes[type(error).__name__] += len(request.numbers)
        self._check_failed_rows(error)

    def _check_failed_rows(self, last: BasetenError) -> None:
        most = self._job.max_failed_rows
        if most is not None and self._rows.failed > most:
            raise BasetenBatchError(
                f"{self._rows.failed:,} rows have failed, max_failed_rows allows {most:,}. The last error is "
                f"{type(last).__name__}: {shortened(str(last))} All errors are in the files _failed-* of "
                f"{self._job.output_path}. A retry sends the failed rows again, and those that were not sent yet."
            )

    async def _tick(self, stop: threading.Event, on_progress: OnProgress | None) -> None:
        """Adjust the concurrency, close old parts and report progress, at regular intervals."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if stop.is_set():
                self._stop_soon()
            self._writer.close_old_part(now)
            if self._controller is not None and not self._stopping:
                stats = self._sender.stats
                counts = RequestCounts(stats.responses, stats.response_seconds, stats.rejected)
                self._slots.resize(self._controller.update(counts, now, starved=self._prefetcher.starved))
                self._start_workers()
            if on_progress is not None and now >= self._reported + PROGRESS_SECONDS:
                self._sender.report()
                on_progress(self._progress(now))

    def _progress(self, now: float, *, is_last: bool = False) -> Progress:
        self._reported = now
        return self._meter.progress(
            now,
            concurrency=self._slots.limit,
            rows_read=self._encoder.rows,
            all_read=self._prefetcher.all_read,
            is_last=is_last,
        )

    def _manifest(self) -> Manifest:
        stats, before = self._sender.stats, self._previous.done.count
        seconds = time.monotonic() - self._began
        rows = before + self._rows.done
        return Manifest(
            fingerprint=self._folder.fingerprint,
            complete=self._prefetcher.exhausted and rows == self._encoder.rows,
            rows=rows,
            succeeded=before + self._rows.succeeded,
            failed=self._rows.failed,
            sent=stats.sent,
            outcomes=dict(self._rows.outcomes + Counter(success=before)),
            parts=self._folder.uris(self._writer.parts),
            failed_parts=self._folder.uris(self._writer.failed_parts),
            seconds=round(seconds, 3),
            rows_per_second=round(self._rows.done / max(seconds, 1e-6), 1),
            latency=stats.latencies.summary(),
            usage=dict(stats.usage),
            num_shards=self._job.num_shards,
            shard=self._job.shard,
        )
