"""The run of a job: rows in, requests in flight, parts and a manifest out."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from airflow_provider_baseten.batch.calls import Call, Encoder
from airflow_provider_baseten.batch.control import START, Counts, Pacer
from airflow_provider_baseten.batch.cores import one_core, use_all_cores
from airflow_provider_baseten.batch.failed_rows import check_answered, check_share
from airflow_provider_baseten.batch.failures import failure_record
from airflow_provider_baseten.batch.feed import Feed
from airflow_provider_baseten.batch.fingerprint import fingerprint
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.manifest import Manifest
from airflow_provider_baseten.batch.parts import Earlier, OutputFolder
from airflow_provider_baseten.batch.progress import Progress, Tally
from airflow_provider_baseten.batch.progress_meter import ProgressMeter
from airflow_provider_baseten.batch.rows import Source, open_source
from airflow_provider_baseten.batch.sender import Sender
from airflow_provider_baseten.batch.slots import Slots
from airflow_provider_baseten.batch.writer import PartWriter
from airflow_provider_baseten.client.async_transport import AsyncTransport
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenBatchError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
)

_LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0

# After a stop, how long requests in flight may go on; with writing the last part it stays below 5 seconds.
GRACE_SECONDS = 2.5

_TICK_SECONDS = 0.1

# What may be the fault of a single row of a request.
_OF_ONE_ROW = (BasetenInputError, BasetenModelError, BasetenPayloadTooLargeError)

OnProgress = Callable[[Progress], object]


def run_batch(
    job: BatchJob,
    *,
    client: Client,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Run a job and block until it has ended.

    Parts are written while it runs, each of them whole, and the manifest last. After a crash the next run of the same
    job sends only rows that have no output yet: of what was sent, at most the requests in flight and one open part are
    sent again. A job that is complete and has no failed rows is not run again; its manifest is returned.

    :param job: what to do.
    :param client: its credentials are used; the run opens connections of its own. A response has at most 64 MiB; a
        row with a larger one fails.
    :param stop: ends the run within 5 seconds once it is set, by a signal handler or another thread; set in any case
        when this returns.
    :param on_progress: called every 10 seconds, in another thread.
    :returns: the manifest; after a stop one that is not ``complete``, and that is not written.
    :raises BasetenInputError: the input can't be read or lacks a column, or the output folder is another job's; nothing
        was sent.
    :raises BasetenResultStoreError: the output can't be written.
    :raises BasetenBatchError: more rows have failed than the job allows; or, without ``max_failure_ratio``, no row was
        answered, as without a network. Rows that were answered and have all failed are no error here: see ``failed`` of
        the manifest.
    :raises BasetenAuthError: the key was refused.
    """
    stop = stop or threading.Event()
    work = _run_job(
        job,
        client=client,
        stop=stop,
        on_progress=on_progress,
    )
    # In a thread: an event loop swallows what the handler of a signal raises, as that of Airflow's execution_timeout.
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(_in_loop, work)
        try:
            return run.result()
        finally:
            stop.set()


def _in_loop(work: Coroutine[Any, Any, Manifest]) -> Manifest:
    with one_core(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(4, initializer=use_all_cores))
        return runner.run(work)


async def _run_job(job: BatchJob, *, client: Client, stop: threading.Event, on_progress: OnProgress | None) -> Manifest:
    source = await asyncio.to_thread(open_source, job)
    mark = await asyncio.to_thread(fingerprint, job, source.files, source.sample)
    folder = OutputFolder(job, mark)
    await asyncio.to_thread(folder.claim)
    former = await asyncio.to_thread(folder.manifest)
    if former is not None and not former.failed:
        _LOG.info("%s is complete already: nothing is sent.", job.output_path)
        return former
    earlier = await asyncio.to_thread(folder.earlier)
    transport = AsyncTransport(client.credentials.with_options(timeout=job.timeout))
    try:
        run = _Run(job, source, folder, earlier, transport)
        manifest = await run.run(stop, on_progress)
    finally:
        await transport.close()
    if manifest.complete:
        await asyncio.to_thread(folder.commit, manifest, earlier.failed_parts)
        await asyncio.to_thread(_check_failures, job, manifest)
    return manifest


def _check_failures(job: BatchJob, manifest: Manifest) -> None:
    if job.max_failure_ratio is None:
        check_answered(manifest)
    else:
        check_share(manifest, job.max_failure_ratio)


class _Run:
    """One run of a job: workers that each take a call, send it and note what came of its rows."""

    def __init__(
        self, job: BatchJob, source: Source, folder: OutputFolder, earlier: Earlier, transport: AsyncTransport
    ) -> None:
        self._job = job
        self._source = source
        self._folder = folder
        self._earlier = earlier
        now = time.monotonic()
        self._tally = Tally(now)
        self._meter = ProgressMeter(job, source, earlier, self._tally, now)
        self._pacer = Pacer(now) if job.max_concurrency == "auto" else None
        self._slots = Slots(START if job.max_concurrency == "auto" else job.max_concurrency)
        self._sender = Sender(job, transport, self._slots, self._tally)
        self._encoder = Encoder(job)
        self._feed = Feed(self._encoder.calls(source.rows, earlier.wanted(job.only_failed)))
        self._writer = PartWriter(folder, earlier)
        self._workers: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._stopping = False
        self._error: BaseException | None = None
        self._reported = now

    async def run(self, stop: threading.Event, on_progress: OnProgress | None) -> Manifest:
        """Send all rows that are to be sent; what was sent is in parts when this returns or raises."""
        if on_progress is not None:
            self._meter.count.start()
        ticker = asyncio.create_task(self._tick(stop, on_progress))
        ticker.add_done_callback(self._note_error)
        self._stopping = stop.is_set()
        self._hire()
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self._writer.hurry()
            raise
        finally:
            if stop.is_set():
                self._writer.hurry()
            tasks = [ticker, *self._workers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._feed.close()
            self._meter.count.close()
            await self._writer.close()
        if self._error is not None:
            raise self._error
        return self._manifest()

    def _hire(self) -> None:
        """Keep as many workers as there are places; one that waits before a new attempt has none."""
        paused = 0 if self._pacer is None else self._slots.paused
        while len(self._workers) < self._slots.limit + paused and not self._feed.exhausted:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._dismiss)

    def _dismiss(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._note_error(worker)
        if not self._workers:
            self._ended.set()

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._stop_soon()

    def _stop_soon(self) -> None:
        """Send nothing more, and wait a little for what was sent: it is paid for."""
        if not self._stopping:
            self._stopping = True
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._ended.set)

    async def _work(self) -> None:
        while not self._stopping:
            await self._slots.take()
            try:
                await self._writer.room(self._slots.limit * self._job.rows_per_request)
                call = await self._feed.next()
                if call is None or self._stopping:
                    return
                self._writer.unsaved += len(call.numbers)
                await self._send(call)
            finally:
                self._slots.give_back()

    async def _send(self, call: Call) -> None:
        try:
            if call.error is not None:
                self._tally.unsent += len(call.numbers)
                raise call.error
            outcomes = await self._sender.send(call)
        except BasetenError as error:
            await self._failed(call, error)
            return
        last = None
        for number, kept, outcome in zip(call.numbers, call.kept, outcomes, strict=True):
            if isinstance(outcome, bytes):
                self._tally.outcomes["success"] += 1
                self._writer.add(number, kept, outcome)
            else:
                last = outcome.error
                self._tally.outcomes[type(last).__name__] += 1
                record = failure_record(last, outcome.answer, outcome.answer_row)
                self._writer.add(number, kept, record, failed=True)
        if last is not None:
            self._check_failed_rows(last)

    async def _failed(self, call: Call, error: BasetenError) -> None:
        """Note that a call has got no answer, or send the halves of its rows."""
        if len(call.numbers) > 1 and isinstance(error, _OF_ONE_ROW):
            for half in self._encoder.halves(call):  # It does not take the others with it.
                await self._send(half)
            return
        hopeless = BasetenAuthError if self._tally.outcomes["success"] else (BasetenAuthError, BasetenNotFoundError)
        if isinstance(error, hopeless):  # Every row would run into it.
            raise error
        record = failure_record(error)
        for number, kept in zip(call.numbers, call.kept, strict=True):
            self._writer.add(number, kept, record, failed=True)
        self._tally.outcomes[type(error).__name__] += len(call.numbers)
        self._check_failed_rows(error)

    def _check_failed_rows(self, last: BasetenError) -> None:
        most = self._job.max_failed_rows
        if most is not None and self._tally.failed > most:
            raise BasetenBatchError(
                f"{self._tally.failed:,} rows have failed, max_failed_rows allows {most:,}: the last one with "
                f"{type(last).__name__}. The failed rows are in {self._job.output_path}."
            )

    async def _tick(self, stop: threading.Event, on_progress: OnProgress | None) -> None:
        """Do what depends on time."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if stop.is_set():
                self._stop_soon()
            self._writer.close_old_part(now)
            if self._pacer is not None and not self._stopping:
                tally = self._tally
                counts = Counts(tally.answers, tally.seconds, tally.refused)
                self._slots.resize(self._pacer.update(counts, now, starved=self._feed.starved))
                self._hire()
            if on_progress is not None and now >= self._reported + PROGRESS_SECONDS:
                on_progress(self._progress(now))

    def _progress(self, now: float) -> Progress:
        self._reported = now
        return self._meter.progress(
            now, concurrency=self._slots.limit, rows_read=self._encoder.rows, all_read=self._feed.all_read
        )

    def _manifest(self) -> Manifest:
        tally, before = self._tally, self._earlier.done.count
        seconds = time.monotonic() - tally.began
        rows = before + tally.done
        return Manifest(
            fingerprint=self._folder.fingerprint,
            complete=self._feed.exhausted and rows == self._encoder.rows,
            rows=rows,
            succeeded=before + tally.outcomes["success"],
            failed=tally.failed,
            sent=tally.sent,
            outcomes=dict(tally.outcomes + Counter(success=before)),
            parts=self._folder.uris(self._writer.parts),
            failed_parts=self._folder.uris(self._writer.failed_parts),
            seconds=round(seconds, 3),
            rows_per_second=round(tally.done / max(seconds, 1e-6), 1),
            latency=tally.latencies.summary(),
            usage=dict(tally.usage),
            num_shards=self._job.num_shards,
            shard=self._job.shard,
        )
