"""Failures of tasks: how an error of this package reaches the task's log and Airflow."""

import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from airflow.sdk import BaseOperator

from airflow_provider_baseten.compat import (
    KNOWS_RETRY_POLICY,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    ResumingOverride,
)
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError
from airflow_provider_baseten.operators.activity_report import report_failure, report_usage
from airflow_provider_baseten.operators.airflow_options import TaskOptions
from airflow_provider_baseten.operators.lineage import LineageMixin, report_assets
from airflow_provider_baseten.operators.model_logs import log_model_lines
from airflow_provider_baseten.operators.signatures import SignatureMixin
from airflow_provider_baseten.policies import checked_policy

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.activity.task_summary import TaskSummary
    from airflow_provider_baseten.compat import RetryPolicy

# Characters in a line of the log message. In a window 1280 pixels wide, a line of Airflow's log view has room for 115
# characters, or for 86 after the time and the level.
_LINE = 100
_REPORTED = (BasetenError, AirflowTaskTimeout, AirflowSensorTimeout)
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")


class ReportingOperator(SignatureMixin, ResumingOverride, LineageMixin, BaseOperator):
    """Base of all operators and sensors. It logs their failures and passes them to Airflow.

    A failure is logged as one paragraph, with a short traceback. Airflow below 3.3 does not call retry policies.
    With these versions, this class calls the policy itself, and an error that the policy does not retry fails the task
    at once.

    Operators of this package implement :meth:`run_task` instead of ``execute``, and :meth:`resume_task` for the work
    after a deferral. ``execute`` and ``resume`` of this class call these methods and report failures. A user's subclass
    may override ``execute`` and catch the errors of ``super().execute(context)``. If such an error is one of
    :mod:`airflow_provider_baseten.exceptions` or a timeout of Airflow, this class has already logged it. This class
    does not report other errors, or errors that the subclass raises itself. Airflow handles them as in any other
    operator.

    :param retry_policy: policy that decides whether a failure is retried, by default
        :class:`~airflow_provider_baseten.policies.BasetenRetryPolicy`.
    """

    retry_policy: Any
    #: What the task has done; ``None`` until its work has succeeded.
    summary: "TaskSummary | None" = None

    def __init__(
        self, *, task_id: str, retry_policy: "RetryPolicy | None" = None, **kwargs: Unpack[TaskOptions]
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        # The policy is not passed to Airflow's base class, because below Airflow 3.3 that class has no `retry_policy`.
        self.retry_policy = checked_policy(retry_policy)

    def execute(self, context: "Context") -> Any:
        """Run the task, and report its failure."""
        try:
            return self.run_task(context)
        except _REPORTED as error:
            raise self._report(error)  # noqa: B904 - _report has set the cause.

    def run_task(self, context: "Context") -> Any:
        """Do the work of the task. Operators override this method.

        For a sensor, it calls ``execute`` of Airflow's sensor class, which pokes until the wait ends.
        """
        return super().execute(context)

    def resume(self, call: Callable[[], Any]) -> Any:
        """Run :meth:`resume_task` after a deferral, and report its failure."""
        try:
            return self.resume_task(call)
        except _REPORTED as error:
            raise self._report(error)  # noqa: B904

    def resume_task(self, call: Callable[[], Any]) -> Any:
        """Do the work of the task after a deferral. By default, this method only calls ``call``.

        :param call: function that continues the task. It calls the method that the task chose when it was deferred,
            for example ``execute_complete``. If the trigger has failed, the function raises Airflow's
            ``TaskDeferralError`` instead; after a timeout of the deferral, it raises ``TaskDeferralTimeout``.
        """
        return call()

    def finish(self, context: "Context", summary: "TaskSummary") -> None:
        """Report what the task has done. Operators call this method once, when their work has succeeded.

        :param summary: what the task has done.
        """
        from airflow_provider_baseten.telemetry.metrics import count_summary

        self.summary = summary
        report_usage(self, context, summary)
        count_summary(summary, type(self).__name__)
        report_assets(self, context, summary)

    def timeout_note(self) -> str:
        """Return the sentences that follow "The execution_timeout has passed." in the error.

        They say what the task has sent, and what happens to the requests that were sent.
        """
        return "Nothing was sent."

    def _report(self, error: BaseException) -> BaseException:
        """Log a failure, and return the exception to raise. Its traceback so far is removed."""
        self.log.debug("The full traceback:", exc_info=error)
        if isinstance(error, AirflowTaskTimeout):
            limit = "" if self.execution_timeout is None else f" of {self.execution_timeout.total_seconds():g} s"
            failure: BaseException = AirflowTaskTimeout(
                f"The execution_timeout{limit} has passed. {self.timeout_note()}"
            )
        else:
            failure = error.with_traceback(None)
        self.log.error("%s", log_message(failure))
        report_failure(self, failure)
        log_model_lines(self, failure)
        cause = None
        if isinstance(error, BasetenError):
            cause = _cause(error)
            if not KNOWS_RETRY_POLICY and (decision := self.retry_policy.decide(error)).action == "fail":
                self.log.info("There is no retry. %s", decision.reason)
                failure = _final(error)
        failure.__cause__ = cause
        return failure


def _final(error: BasetenError) -> BasetenError:
    """Copy an error. The copy is an ``AirflowFailException`` too, so that Airflow does not retry the task."""
    kind = type(error)

    def reduce(self: BasetenError) -> tuple[Any, ...]:
        # Pickle finds a class by its module and name, so it can't pickle an instance of a class made at run time. With
        # this method, pickle stores the original type instead, and an unpickled copy has that type.
        return (kind, self.args, vars(self))

    namespace = {"__module__": kind.__module__, "__reduce__": reduce}
    final = type(kind.__name__, (kind, AirflowFailException), namespace)
    copy: BasetenError = final.__new__(final, *error.args)
    vars(copy).update(vars(error))
    return copy


def log_message(error: BaseException) -> str:
    """Return the log message of an error, with type, status and request id first.

    The lines are short, because Airflow's log view does not wrap long ones.
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
    """Return the cause to show in the traceback.

    An exception of the DAG author's code is shown. For an exception of a library, ``None`` is returned.
    """
    return error.__cause__ if isinstance(error, BasetenInputError) else None
