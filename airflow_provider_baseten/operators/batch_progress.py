"""Tells how far a bulk run is: in the task log, and in the task state store, where Airflow's UI shows it."""

from dataclasses import asdict
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.batch.progress import Progress

KEY = "baseten_batch_progress"


class ProgressReport:
    """What a bulk run tells its progress to. Numbers that can't be kept are not missed: the run goes on.

    :param task_states: the task state store; ``None`` before Airflow 3.3.
    :param log: logger of the task.
    """

    def __init__(self, task_states: Any, log: Any) -> None:
        self._task_states = task_states
        self._log = log
        self._keeping: Thread | None = None

    def __call__(self, progress: "Progress") -> None:
        """Log the numbers and keep them; called in the event loop of the run, which does not wait for Airflow's API."""
        self._log.info(sentence(progress))
        if self._keeping is None or not self._keeping.is_alive():
            self._keeping = Thread(target=self._keep, args=(asdict(progress),), daemon=True)
            self._keeping.start()

    def end(self, manifest: "Manifest") -> None:
        """Log and keep what came of the run."""
        self._log.info(
            "%s: %s rows have an output, %s have failed. This run took %s.",
            "Complete" if manifest.complete else "Stopped",
            *(f"{rows:,}" for rows in (manifest.succeeded, manifest.failed)),
            timedelta(seconds=round(manifest.seconds)),
        )
        if self._keeping is not None:
            self._keeping.join()
        self._keep(asdict(final(manifest)))

    def _keep(self, numbers: dict[str, Any]) -> None:
        if self._task_states is None:
            return
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        try:
            self._task_states.set(KEY, numbers, retention=NEVER_EXPIRE)
        except Exception as error:
            self._log.warning("The progress could not be kept in the task state store (%s).", type(error).__name__)


def sentence(progress: "Progress") -> str:
    """Return the numbers as a line of the log."""
    total = "" if progress.total is None else f" of {progress.total:,}"
    left = "" if progress.eta_seconds is None else f", {timedelta(seconds=round(progress.eta_seconds))} left"
    return (
        f"{progress.rows:,}{total} rows, {progress.rows_per_second:,.0f} rows/s, {progress.failed:,} failed, "
        f"at most {progress.concurrency} requests in flight{left}."
    )


def final(manifest: "Manifest") -> "Progress":
    """Return the progress of a run that has ended."""
    from airflow_provider_baseten.batch.progress import Progress

    return Progress(
        rows=manifest.rows,
        total=manifest.rows if manifest.complete else None,
        failed=manifest.failed,
        rows_per_second=manifest.rows_per_second,
        concurrency=0,
        eta_seconds=0.0 if manifest.complete else None,
    )
