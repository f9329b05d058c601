"""Progress and result of a bulk run. They go to the task log and to the task state store, which Airflow's UI shows."""

from dataclasses import asdict
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.batch.progress import Progress

KEY = "baseten_batch_progress"


class ProgressReport:
    """Report of a run's progress. If the numbers can't be stored, the run continues.

    :param task_states: the task state store; ``None`` before Airflow 3.3.
    :param log: logger of the task.
    """

    def __init__(self, task_states: Any, log: Any) -> None:
        self._task_states = task_states
        self._log = log
        self._storing: Thread | None = None

    def __call__(self, progress: "Progress") -> None:
        """Log the numbers, and start a thread that stores them, unless the previous thread is still running.

        Without the thread, a slow call to Airflow's API would block the event loop in which this method runs.
        """
        self._log.info("%s", progress)
        if self._storing is None or not self._storing.is_alive():
            self._storing = Thread(target=self._store, args=(asdict(progress),), daemon=True)
            self._storing.start()

    def end(self, manifest: "Manifest") -> None:
        """Store the result of the run."""
        if self._storing is not None:
            self._storing.join()
        self._store(asdict(final(manifest)))

    def _store(self, numbers: dict[str, Any]) -> None:
        if self._task_states is None:
            return
        from airflow_provider_baseten.compat import NEVER_EXPIRE

        try:
            self._task_states.set(KEY, numbers, retention=NEVER_EXPIRE)
        except Exception as error:
            self._log.warning("The progress could not be stored in the task state store (%s).", type(error).__name__)


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


def final(manifest: "Manifest") -> "Progress":
    """Return the final progress of a run."""
    from airflow_provider_baseten.batch.failed_rows import errors_of
    from airflow_provider_baseten.batch.progress import Progress

    return Progress(
        rows=manifest.rows,
        total=manifest.rows if manifest.complete else None,
        at_least=manifest.rows,
        failed=manifest.failed,
        errors=errors_of(manifest.outcomes),
        rows_per_second=manifest.rows_per_second,
        concurrency=0,
        eta_seconds=0.0 if manifest.complete else None,
    )
