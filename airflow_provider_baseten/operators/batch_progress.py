"""Progress and result of a bulk run. They go to the task log, and to the record that the pages in Airflow's UI show."""

import time
from dataclasses import asdict, replace
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.activity.records import BulkJobRecord, Histogram, JobProgress
from airflow_provider_baseten.operators.activity_report import described_target, report

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.batch.progress import Progress


class ProgressReport:
    """Report of a run's progress. If the record can't be kept, the run continues.

    :param operator: operator of the task.
    :param context: context of the task.
    :param job: the job that runs.
    """

    def __init__(self, operator: Any, context: "Context", job: "BatchJob") -> None:
        now = time.time()
        self._operator = operator
        self._task_instance = context["ti"]
        self._record = BulkJobRecord(
            **described_target(operator),
            output_path=str(job.output_path),
            started_at=now,
            updated_at=now,
            progress=JobProgress(),
            shard=job.shard,
            num_shards=job.num_shards,
        )
        self._keeping: Thread | None = None
        #: Whether the run has reported its end. If not, an earlier run had completed the job.
        self.has_run = False

    def start(self) -> None:
        """Keep a first record, so that the pages show the run."""
        self._keep(self._record)

    def __call__(self, progress: "Progress") -> None:
        """Log the numbers, and start a thread that keeps them, unless the previous thread is still running.

        Without the thread, a slow call to Airflow's API would block the event loop in which this method runs. The last
        report is kept by :meth:`end`, and its numbers are logged with the result of the run.
        """
        self.has_run = progress.is_last
        if not progress.is_last:
            self._operator.log.info("%s", progress)
        self._record = updated_record(self._record, progress, time.time())
        if not progress.is_last and (self._keeping is None or not self._keeping.is_alive()):
            self._keeping = Thread(target=self._keep, args=(self._record,), daemon=True)
            self._keeping.start()

    def end(self, manifest: "Manifest | None" = None) -> None:
        """Keep the result of the run.

        :param manifest: the result; ``None`` for a run that has failed. Its last report is its result then.
        """
        if self._keeping is not None:
            self._keeping.join()
        progress = self._record.progress
        if manifest is not None:
            progress = replace(final(manifest), latencies=progress.latencies)
        self._keep(replace(self._record, progress=progress, updated_at=time.time(), ended=True))

    def _keep(self, record: BulkJobRecord) -> None:
        report(self._operator, lambda: (self._task_instance, record))


def updated_record(record: BulkJobRecord, progress: "Progress", now: float) -> BulkJobRecord:
    """Return the record with the numbers of a report."""
    numbers = asdict(progress)
    numbers.pop("is_last")
    ranges = numbers.pop("latencies")
    latencies = Histogram(up_to=[up_to for up_to, _ in ranges], counts=[count for _, count in ranges])
    return replace(
        record,
        progress=JobProgress(**numbers, latencies=latencies),
        updated_at=now,
        history=record.history.with_report(round(now, 1), progress.concurrency, progress.rows_per_second),
    )


def log_job_result(log: Any, manifest: "Manifest", folder: str) -> None:
    """Log the result of a job.

    :param log: logger of the task.
    :param folder: folder of the outputs.
    """
    log.info(
        "%s: %s rows have an output, %s have failed. The output folder is %s. The run took %s.",
        "Complete" if manifest.complete else "Stopped",
        *(f"{rows:,}" for rows in (manifest.succeeded, manifest.failed)),
        folder,
        timedelta(seconds=round(manifest.seconds)),
    )


def log_failed_rows(log: Any, manifest: "Manifest") -> None:
    """Log a warning if rows have failed."""
    from airflow_provider_baseten.batch.failed_rows import summary

    if manifest.failed:
        log.warning("%s", summary(manifest))


def final(manifest: "Manifest") -> JobProgress:
    """Return the final progress of a run."""
    from airflow_provider_baseten.batch.failed_rows import errors_of

    return JobProgress(
        rows=manifest.rows,
        total=manifest.rows if manifest.complete else None,
        at_least=manifest.rows,
        failed=manifest.failed,
        errors=errors_of(manifest.outcomes),
        rows_per_second=manifest.rows_per_second,
        eta_seconds=0.0 if manifest.complete else None,
    )
