"""Wait for a watch: when it looks, what it logs, and when it gives up."""

import random
import time
from dataclasses import dataclass

from airflow_provider_baseten.exceptions import BasetenError, BasetenNotFoundError
from airflow_provider_baseten.waiting.log import HEARTBEAT, Log, duration, error_words
from airflow_provider_baseten.waiting.management.steps import Pause, Steps
from airflow_provider_baseten.waiting.management.watch import State, Watch
from airflow_provider_baseten.waiting.state import poll_delay


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLimits:
    """Limits of a wait.

    :param deadline: end of the wait in seconds since the epoch.
    :param poll_interval: longest time between two looks, in seconds. The first looks come sooner.
    """

    deadline: float
    poll_interval: float


def wait_for(watch: Watch, limits: WaitLimits, log: Log) -> Steps[State]:
    """Wait until a watch has ended or the deadline has passed, and return the last state.

    A change of the state is logged, and every five minutes a line says that the wait continues. If a look fails, the
    wait continues. There are two exceptions: what is waited for does not exist any more, or the first look fails with
    an error that a later look would have too, such as a key without the right to look.

    :param watch: what is waited for.
    :param log: log of the task or the trigger.
    """
    record = _WaitRecord(watch, log)
    look, looks = watch.looks(log), 0
    while True:
        try:
            state = yield from look(time.time())
        except BasetenNotFoundError as error:
            return State(text="not found", error=watch.missing(error))
        except BasetenError as error:
            if record.state is None and error.is_permanent and not error.retryable:
                return State(text="unknown", error=error)
            record.note_problem(error)
        else:
            record.note(state)
            if state.has_ended:
                return state
        now = time.time()
        if now >= limits.deadline:
            return record.state or State(text="unknown")
        record.write(now)
        pause = poll_delay(looks, limits.poll_interval, random.random())  # noqa: S311 - only spreads calls.
        yield Pause(min(pause, limits.deadline - now))
        looks += 1


class _WaitRecord:
    """What a wait has seen and logged."""

    def __init__(self, watch: Watch, log: Log) -> None:
        self.state: State | None = None
        self._watch = watch
        self._log = log
        self._logged_at = watch.began
        self._problem = ""

    def note(self, state: State) -> None:
        """Log the state if it has changed."""
        if self.state is None or self.state.text != state.text:
            now = time.time()
            took = duration(now - self._watch.began)
            self._log.info("%s after %s: %s.", _capitalized(self._watch.name), took, state.text)
            self._logged_at = now
        self.state = state
        self._problem = ""

    def note_problem(self, error: BasetenError) -> None:
        """Log that a look has failed; the same problem in a row is logged once."""
        words = error_words(error)
        if not self._problem:
            self._log.warning("Still waiting for %s: %s", self._watch.name, words)
        self._problem = words

    def write(self, now: float) -> None:
        """Log that the wait continues if nothing was logged for five minutes."""
        if now - self._logged_at >= HEARTBEAT:
            text = "unknown" if self.state is None else self.state.text
            took = duration(now - self._watch.began)
            problem = f" {self._problem}" if self._problem else ""
            self._log.info("Still waiting for %s after %s: %s.%s", self._watch.name, took, text, problem)
            self._logged_at = now


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
