"""Activity report: how a task writes the records that the pages in Airflow's UI show."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_baseten.activity.records import (
    MAX_MESSAGE_CHARACTERS,
    FailureRecord,
    Record,
    UsageRecord,
    keep_record,
)
from airflow_provider_baseten.api.target import ModelApis
from airflow_provider_baseten.exceptions import BasetenError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.activity.task_summary import TaskSummary


class DescribedTarget(TypedDict, total=False):
    """Fields of a record that say what a task calls."""

    target: str
    page: str


def described_target(operator: Any) -> DescribedTarget:
    """Return the fields of a record that say what a task calls; no fields for an operator that calls no model.

    :param operator: operator of the task, with its templates rendered.
    """
    try:
        target = operator.called_target
        return {"target": "" if target is None else str(target), "page": operator.page}
    except (AttributeError, BasetenError):
        return {}


def report(operator: Any, make_record: Callable[[], tuple[Any, Record | None]]) -> None:
    """Keep a record. An error is logged and does not fail the task.

    :param operator: operator of the task.
    :param make_record: function that returns the task instance and the record; no record is kept if it returns none.
    """
    try:
        task_instance, record = make_record()
        if record is not None:
            keep_record(task_instance, record)
    except Exception as error:
        operator.log.debug("The full traceback:", exc_info=error)
        operator.log.warning("What this task does could not be kept for Baseten's pages (%s).", type(error).__name__)


def report_usage(operator: Any, context: "Context", summary: "TaskSummary") -> None:
    """Keep what a task has used. What another task or an earlier run has counted is left out."""

    def record() -> tuple[Any, UsageRecord | None]:
        if summary.is_counted or not summary.requests:
            return context["ti"], None
        return context["ti"], UsageRecord(
            **described_target(operator),
            model=summary.model,
            at=time.time(),
            requests=summary.requests,
            rows=summary.rows,
            tokens=dict(summary.tokens),
            cost_usd=_cost_of(operator, summary),
        )

    report(operator, record)


def _cost_of(operator: Any, summary: "TaskSummary") -> float | None:
    """Return the cost of the tokens in US dollars. It is known only for Model APIs, which have prices for tokens."""
    from airflow_provider_baseten.hooks.prices import known_price

    if not isinstance(summary.target, ModelApis) or summary.model is None or not summary.tokens:
        return None
    price = known_price(operator.baseten_conn_id, summary.model)
    return None if price is None else float(price.cost_of(summary.tokens))


def report_failure(operator: Any, error: BaseException) -> None:
    """Keep the failure of a task. If the operator does not run in a task, there is nothing to keep it with."""
    from airflow.sdk import get_current_context

    try:
        task_instance = get_current_context()["ti"]
    except (LookupError, RuntimeError):
        return

    def record() -> tuple[Any, FailureRecord]:
        return task_instance, FailureRecord(
            **described_target(operator),
            at=time.time(),
            type=type(error).__name__,
            message=_shortened(str(error)),
            request_id=error.request_id if isinstance(error, BasetenError) else None,
            status=error.status if isinstance(error, BasetenError) else None,
        )

    report(operator, record)


def _shortened(message: str) -> str:
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    return f"{message[: MAX_MESSAGE_CHARACTERS - 1]}…"
