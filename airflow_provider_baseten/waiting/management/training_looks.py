"""Looks at a training job: its status, why it waits for capacity, and the lines that it writes."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_baseten.api.excerpts import one_line, printable_lines, without_middle
from airflow_provider_baseten.api.management.logs import MAX_LINES, LogLine
from airflow_provider_baseten.api.management.training import get_queue_context, get_training_logs
from airflow_provider_baseten.api.management.training_jobs import PENDING, QueueContext, TrainingJob
from airflow_provider_baseten.exceptions import BasetenError
from airflow_provider_baseten.waiting.log import Log
from airflow_provider_baseten.waiting.management.steps import Pause, Steps
from airflow_provider_baseten.waiting.management.watch import State

if TYPE_CHECKING:
    from airflow_provider_baseten.waiting.management.training import TrainingWatch

# Most pages of lines in one look, so that a job that writes a lot does not hold up the wait, and after its end.
_MAX_PAGES = 5
_MAX_LAST_PAGES = 50
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
        number, _ = yield from self._log_lines(job, now)
        if state.has_ended:
            yield from self._log_last_lines(job, now, number)
        return state

    def _log_last_lines(self, job: TrainingJob, now: float, number: int) -> Steps[None]:
        """Log the lines that are left after the end of the job.

        :param number: number of lines in the look before.
        """
        for _ in range(int(_LAST_LINES_SECONDS / _LAST_LINES_PAUSE)):
            yield Pause(_LAST_LINES_PAUSE)
            previous = number
            number, is_all = yield from self._log_lines(job, now, _MAX_LAST_PAGES)
            if not is_all:
                self._log.warning("%s has more lines than are logged here. Its last lines are:", self._watch.name)
                yield from self._log_newest_lines()
                return
            if previous == number == 0:
                return

    def _queue_context(self) -> Steps[QueueContext | None]:
        try:
            context: QueueContext = yield get_queue_context(self._watch.job_id)
        except BasetenError:
            # The route is marked as unstable, and a key may lack the right. The job itself is what counts.
            return None
        return context

    def _log_lines(self, job: TrainingJob, now: float, max_pages: int = _MAX_PAGES) -> Steps[tuple[int, bool]]:
        """Log the new lines of the job. If they can't be read, the wait goes on.

        :returns: the number of new lines, and whether they are all that there are now.
        """
        total = 0
        for _ in range(max_pages):
            page = yield from self._read(start=self._position or self._beginning(job, now), direction="asc")
            new = self._take(page)
            total += new
            if len(page) < MAX_LINES:
                return total, True
            if not new:
                # The API returns no more lines of one millisecond.
                self._log.warning("%s has lines that can't be read: too many of one millisecond.", self._watch.name)
                self._position = max(line.timestamp for line in page).add(microseconds=1000)
        return total, False

    def _log_newest_lines(self) -> Steps[None]:
        page = yield from self._read(start=self._position, direction="desc")
        self._take(reversed(page))

    def _read(self, **selection: Any) -> Steps[list[LogLine]]:
        """Read a page of lines. If that fails, log it, and return none."""
        watch = self._watch
        try:
            page: list[LogLine] = yield get_training_logs(watch.project_id, watch.job_id, limit=MAX_LINES, **selection)
        except BasetenError as error:
            self._log.warning("The lines of %s could not be read. %s", watch.name, error)
            return []
        return page

    def _take(self, page: Iterable[LogLine]) -> int:
        new = [line for line in page if _key(line) not in self._logged]
        for line in new:
            level = f"{line.level} " if line.level not in {None, "INFO"} else ""
            for text in printable_lines(line.message):
                self._log.info("| %s%s", level, without_middle(text, _MAX_CHARACTERS))
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
            reasons.append(f"{used} of {capacity.max_gpus} were in use (jobs: {len(context.active_at_submit)})")
        reasons.append(f"jobs ahead: {len(context.pending_ahead_at_submit)}")
    says = f". Baseten says: {one_line(job.error_message, 200).rstrip('.')}" if job.error_message else ""
    return "waiting for capacity" + (f": {', '.join(reasons)}" if reasons else "") + says
