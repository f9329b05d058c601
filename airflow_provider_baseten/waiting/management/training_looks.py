"""Looks at a training job: its status, why it waits for capacity, and the lines that it writes."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import pendulum

from airflow_provider_baseten.api.excerpts import one_line
from airflow_provider_baseten.api.management.logs import MAX_LINES, LogLine
from airflow_provider_baseten.api.management.training import get_queue_context, get_training_logs
from airflow_provider_baseten.api.management.training_jobs import PENDING, QueueContext, TrainingJob
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.management.steps import Pause, Steps
from airflow_provider_baseten.waiting.management.watch import State

if TYPE_CHECKING:
    from airflow_provider_baseten.waiting.management.training import TrainingWatch

# Most pages of lines in one look, so that a job that writes a lot does not hold up the wait.
_MAX_PAGES = 5
# Baseten keeps lines for seven days, and refuses an earlier beginning.
_KEPT = timedelta(days=6, hours=23)
# A trigger that was started again repeats the lines of the last ten minutes, not all.
_REPEATED_SECONDS = 600.0
# The last lines of a job arrive a little after its end.
_LAST_LINES_SECONDS = 10
_LAST_LINES_PAUSE = 2.0
# Characters of a line that are logged.
_MAX_CHARACTERS = 2000


class TrainingLooks:
    """Looks at a training job. It remembers which lines of the job were logged.

    :param watch: the job.
    :param log: log of the task or the trigger, which gets the lines of the job.
    """

    def __init__(self, watch: "TrainingWatch", log: Log) -> None:
        self._watch = watch
        self._log = log
        self._position: pendulum.DateTime | None = None
        self._logged: set[tuple[pendulum.DateTime, str | None, str]] = set()

    def look(self, now: float) -> Steps[State]:
        """Read the job and its new lines, and while it waits for capacity also why.

        :param now: seconds since the epoch.
        """
        job: TrainingJob = yield self._watch.call()
        if job.current_status == PENDING:
            return State(text=pending_text(job, (yield from self._queue_context())))
        state = self._watch.judge(job, now)
        number = yield from self._log_lines(job, now)
        if state.has_ended:
            for _ in range(int(_LAST_LINES_SECONDS / _LAST_LINES_PAUSE)):
                yield Pause(_LAST_LINES_PAUSE)
                previous, number = number, (yield from self._log_lines(job, now))
                if previous == number == 0:
                    break
        return state

    def _queue_context(self) -> Steps[QueueContext | None]:
        try:
            context: QueueContext = yield get_queue_context(self._watch.job_id)
        except BasetenError:
            # The route is marked as unstable, and a key may lack the right. The job itself is what counts.
            return None
        return context

    def _log_lines(self, job: TrainingJob, now: float) -> Steps[int]:
        """Log the new lines of the job, and return their number. If they can't be read, the wait goes on."""
        total = 0
        for _ in range(_MAX_PAGES):
            start = self._position or self._beginning(job, now)
            watch = self._watch
            call = get_training_logs(watch.project_id, watch.job_id, start=start, direction="asc", limit=MAX_LINES)
            try:
                page: list[LogLine] = yield call
            except BasetenError as error:
                self._log.warning("The lines of %s could not be read. %s", watch.name, error)
                return total
            new = self._take(page)
            total += new
            if len(page) < MAX_LINES or not new:
                break
        return total

    def _take(self, page: Iterable[LogLine]) -> int:
        new = [line for line in page if _key(line) not in self._logged]
        for line in new:
            level = f"{line.level} " if line.level not in {None, "INFO"} else ""
            self._log.info("| %s%s", level, line.message.rstrip("\n")[:_MAX_CHARACTERS])
        if new:
            # Lines of the same millisecond may still come, so the next page begins with it.
            latest = max(line.timestamp for line in new)
            self._position = latest.replace(microsecond=latest.microsecond // 1000 * 1000)
            self._logged = {key for key in self._logged | {_key(line) for line in new} if key[0] >= self._position}
        return len(new)

    def _beginning(self, job: TrainingJob, now: float) -> pendulum.DateTime:
        earliest = pendulum.from_timestamp(now) - _KEPT
        if now - self._watch.began > _REPEATED_SECONDS:
            return pendulum.from_timestamp(now - _REPEATED_SECONDS)
        return max(earliest, job.created_at or earliest)


def _key(line: LogLine) -> tuple[pendulum.DateTime, str | None, str]:
    return (line.timestamp, line.replica, line.message)


def pending_text(job: TrainingJob, context: QueueContext | None) -> str:
    """Return words that say why a job waits for capacity.

    :param context: its place in the queue, ``None`` if that is not known.
    """
    reasons = []
    if context is not None:
        wanted = "" if context.requested_gpus is None else f"{context.requested_gpus} "
        reasons.append(f"it needs {wanted}{context.gpu_type or 'GPUs'}")
        capacity = context.team_capacity or context.org_capacity
        if capacity is not None:
            used = sum(active.total_gpus or 0 for active in context.active_at_submit)
            reasons.append(f"{used} of {capacity.max_gpus} were in use by {len(context.active_at_submit)} jobs")
        reasons.append(f"{len(context.pending_ahead_at_submit)} jobs are ahead")
    if job.error_message:
        reasons.append(one_line(job.error_message, 200).rstrip("."))
    return "waiting for capacity" + (f": {', '.join(reasons)}" if reasons else "")
