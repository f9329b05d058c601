"""Failures of tasks: how an error of this package reaches the task's log and Airflow."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from airflow_provider_baseten.compat import KNOWS_RETRY_POLICY, AirflowFailException, AirflowTaskTimeout
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError


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
            self.log.error("%s", error)
            self.log.debug("Where it was raised:", exc_info=True)
            raise _as_airflow_sees_it(error, self.retry_policy) from _cause(error)
        except AirflowTaskTimeout:
            limit = "" if self.execution_timeout is None else f" of {self.execution_timeout.total_seconds():g} s"
            timeout = AirflowTaskTimeout(f"The execution_timeout{limit} has passed. {self.what_was_sent()}")
            self.log.error("%s", timeout)
            raise timeout from None
        finally:
            self._is_reporting = False

    return report


def _as_airflow_sees_it(error: BasetenError, policy: Any) -> Exception:
    if not KNOWS_RETRY_POLICY and policy.decide(error).action == "fail":
        return AirflowFailException(str(error))
    return error.with_traceback(None)


def _cause(error: BasetenError) -> BaseException | None:
    """Return what the traceback shows beside the error: code of the author of the DAG, not libraries."""
    return error.__cause__ if isinstance(error, BasetenInputError) else None
