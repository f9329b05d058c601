"""Bulk run: the mixin with which a task runs the bulk engine."""

import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.exceptions import BasetenBatchError
from airflow_provider_baseten.operators.batch_progress import ProgressReport, log_failed_rows, log_job_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.target import ModelApis, Target
    from airflow_provider_baseten.batch.engine import OnProgress
    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.hooks.baseten import BasetenHook


class BatchRunMixin:
    """Mixin of operators that run the bulk engine.

    It reports the progress of the run, and stops the run when the task is stopped.
    """

    log: Any
    #: Whether the task fails if all its rows have failed. False for the shards of a task group, because there the task
    #: ``merge`` decides.
    needs_an_output = True
    #: Whether an earlier run had completed the job, so that this one sent nothing and has the manifest of that run.
    was_complete = False
    _stop: threading.Event | None = None
    _output_path: str | None = None

    def run_batch(self, context: "Context", hook: "BasetenHook", job: "BatchJob") -> "Manifest":
        """Run a job to its end, and return its manifest.

        A run that is stopped writes its last part within 5 seconds. The next attempt sends the remaining rows.

        :raises BasetenBatchError: every row or too many rows have failed, or the task was stopped.
        """
        from airflow_provider_baseten.batch.failed_rows import check_any_output

        self._stop = threading.Event()
        self._output_path = str(job.output_path)
        report = ProgressReport(self, context, job)
        report.start()
        try:
            manifest = run_traced(job, client=hook.client(), stop=self._stop, on_progress=report)
        except BaseException:
            report.end()
            raise
        report.end(manifest)
        self.was_complete = not report.has_run
        log_job_result(self.log, manifest, path_text("output_path", job.output_path))
        if not manifest.complete:
            raise BasetenBatchError(
                f"The task was stopped after {manifest.rows:,} rows, whose outcomes are in {job.output_path}. A retry "
                "sends the others.",
                retryable=True,
            )
        if self.needs_an_output:
            check_any_output(manifest, job.max_failure_ratio)
        log_failed_rows(self.log, manifest)
        return manifest

    def timeout_note(self) -> str:
        """Return sentences on what happens to the rows if the task ends now."""
        if self._output_path is None:
            note: str = super().timeout_note()  # type: ignore[misc]
            return note
        return (
            f"Rows that have an outcome, if any, are in {self._output_path}, and the next attempt sends the others. "
            "Requests that were in flight may still run and be billed, and are sent again."
        )

    def on_kill(self) -> None:
        """Let the run write its last part and stop. This method must not block, because a signal handler calls it."""
        if self._stop is not None:
            self._stop.set()


def run_traced(
    job: "BatchJob",
    *,
    client: "Client",
    stop: threading.Event | None = None,
    on_progress: "OnProgress | None" = None,
) -> "Manifest":
    """Run a job in a span of its own; see :func:`airflow_provider_baseten.batch.engine.run_batch`."""
    from airflow_provider_baseten.batch.engine import run_batch
    from airflow_provider_baseten.telemetry.spans import bulk_span

    operation = "sync_route" if job.route else job.preset
    model = (job.parameters or {}).get("model")
    with bulk_span(operation, job.target, model, client.credentials.host_url(job.target.host)) as span:
        manifest = run_batch(job, client=client, stop=stop, on_progress=on_progress)
        span.set_counts(rows=manifest.rows, failed=manifest.failed, requests=manifest.sent, tokens=manifest.usage)
    return manifest


def summary_of(
    manifest: "Manifest",
    *,
    target: "Target | ModelApis | None" = None,
    model: str | None = None,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    is_counted: bool = False,
) -> TaskSummary:
    """Return what a bulk job has done.

    :param manifest: result of the job.
    :param is_counted: see :class:`~airflow_provider_baseten.activity.task_summary.TaskSummary`.
    """
    return TaskSummary(
        target=target,
        model=model,
        requests=manifest.sent,
        rows=manifest.rows,
        succeeded=manifest.succeeded,
        failed=manifest.failed,
        tokens=manifest.usage,
        inputs=inputs,
        outputs=outputs,
        is_counted=is_counted,
    )
