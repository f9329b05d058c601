"""Run of the bulk engine inside a task."""

import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.compat import task_state_store
from airflow_provider_baseten.exceptions import BasetenBatchError
from airflow_provider_baseten.operators.batch_progress import ProgressReport, log_end, log_failed_rows

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.hooks.baseten import BasetenHook


class BatchRunMixin:
    """Mixin of operators that run the bulk engine: it reports the progress, and stops the run with the task."""

    log: Any
    #: Whether the task fails if every row has failed; a shard of a group leaves that decision to the whole job.
    needs_an_output = True
    _stop: threading.Event | None = None
    _output_path: str | None = None

    def run_batch(self, context: "Context", hook: "BasetenHook", job: "BatchJob") -> "Manifest":
        """Run a job to its end, and return its manifest.

        However the run ends, the open part is written within 5 seconds, and the next attempt continues there.

        :raises BasetenBatchError: every row or too many have failed, or the task was stopped.
        """
        from airflow_provider_baseten.batch.engine import run_batch
        from airflow_provider_baseten.batch.failed_rows import check_any_output

        self._stop = threading.Event()
        self._output_path = str(job.output_path)
        report = ProgressReport(task_state_store(context), self.log)
        manifest = run_batch(job, client=hook.client(), stop=self._stop, on_progress=report)
        report.end(manifest)
        log_end(self.log, manifest, path_text("output_path", job.output_path))
        if not manifest.complete:
            raise BasetenBatchError(
                f"The task was stopped after {manifest.rows:,} rows, whose outcomes are in {job.output_path}. A retry "
                "continues with the others.",
                retryable=True,
            )
        if self.needs_an_output:
            check_any_output(manifest, job.max_failure_ratio)
        log_failed_rows(self.log, manifest)
        return manifest

    def what_was_sent(self) -> str:
        """Return a sentence on the rows, for the log of a task that ends now."""
        if self._output_path is None:
            words: str = super().what_was_sent()  # type: ignore[misc]
            return words
        return (
            f"Rows that were answered, if any, are in {self._output_path}, and the next try sends the others. Requests "
            "that were in flight may still run and be billed, and are sent again."
        )

    def on_kill(self) -> None:
        """Stop the run once it has written the open part. It must not block, as a signal handler calls it."""
        if self._stop is not None:
            self._stop.set()
