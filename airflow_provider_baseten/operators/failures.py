"""Failures of tasks: how an error of this package reaches the task's log and Airflow."""

import re
import textwrap
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from airflow_provider_baseten.compat import (
    KNOWS_RETRY_POLICY,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
)
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError

# Characters. Beside the panel of tasks a window of 1280 pixels has room for 115, and for 86 after time and level.
_LINE = 100
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")


class ReportsFailures:
    """Mixed into an operator or sensor: its failure is one line of the log, and few lines of a traceback.

    Below Airflow 3.3, which does not ask retry policies, the task fails at once where its policy says so.
    """

    log: Any
    retry_policy: Any
    execution_timeout: timedelta | None
    _is_reporting = False

    def what_was_sent(self) -> str:
        """Say what the task has sent by now, and what becomes of it if the task ends here."""
        return "Nothing was sent."

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let what runs the task report failures."""
        super().__init_subclass__(**kwargs)
        for name in ("execute", "resume_execution"):
            setattr(cls, name, _reporting(getattr(cls, name)))


def _reporting(run: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(run)
    def report(self: ReportsFailures, *args: Any, **kwargs: Any) -> Any:
        if self._is_reporting:  # Called by a subclass.
            return run(self, *args, **kwargs)
        self._is_reporting = True
        try:
            return run(self, *args, **kwargs)
        except BasetenError as error:
            self.log.error("%s", shown(error))
            self.log.debug("Where it was raised:", exc_info=True)
            failure: Exception = error.with_traceback(None)
            if not KNOWS_RETRY_POLICY and (decision := self.retry_policy.decide(error)).action == "fail":
                self.log.info("There is no retry. %s", decision.reason)
                failure = AirflowFailException(str(error))
            raise failure from _cause(error)
        except AirflowTaskTimeout:
            limit = "" if self.execution_timeout is None else f" of {self.execution_timeout.total_seconds():g} s"
            timeout = AirflowTaskTimeout(f"The execution_timeout{limit} has passed. {self.what_was_sent()}")
            self.log.error("%s", shown(timeout))
            raise timeout from None
        except AirflowSensorTimeout as error:
            self.log.error("%s", shown(error))
            raise error.with_traceback(None) from None
        finally:
            self._is_reporting = False

    return report


def shown(error: BaseException) -> str:
    """Return an error as it is logged: in lines that Airflow's log view shows whole, the most useful words first.

    The view does not break long lines by itself, and they run out of a window of usual width.
    """
    facts = [type(error).__name__]
    if isinstance(error, BasetenError):
        facts += [f"status {error.status}"] if error.status is not None else []
        facts += [f"request id {error.request_id[:100]}"] if error.request_id else []
    sentences = _SENTENCE_END.split(str(error))
    return "\n".join([", ".join(facts), *(line for sentence in sentences for line in _wrapped(sentence))])


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, _LINE, break_long_words=False, break_on_hyphens=False)


def _cause(error: BasetenError) -> BaseException | None:
    """Return what the traceback shows beside the error: code of the author of the DAG, not libraries."""
    return error.__cause__ if isinstance(error, BasetenInputError) else None
