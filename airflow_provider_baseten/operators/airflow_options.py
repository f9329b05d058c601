"""Arguments that every operator of Airflow has, for type checkers."""

from collections.abc import Callable, Collection, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_baseten.arguments import check_flags
from airflow_provider_baseten.compat import conf

if TYPE_CHECKING:
    from airflow.sdk import DAG, Context, TaskGroup

    from airflow_provider_baseten.compat import PriorityWeightStrategy, TaskStateChangeCallback


class AirflowOptions(TypedDict, total=False):
    """Airflow's own arguments besides ``task_id``, ``multiple_outputs`` and ``retry_policy``.

    See Airflow's ``BaseOperator``.
    """

    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: "DAG | None"
    params: MutableMapping[str, Any] | None
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: "str | PriorityWeightStrategy"
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: "TaskStateChangeCallback | Collection[TaskStateChangeCallback] | None"
    on_failure_callback: "TaskStateChangeCallback | list[TaskStateChangeCallback] | None"
    on_success_callback: "TaskStateChangeCallback | Collection[TaskStateChangeCallback] | None"
    on_retry_callback: "TaskStateChangeCallback | list[TaskStateChangeCallback] | None"
    on_skipped_callback: "TaskStateChangeCallback | Collection[TaskStateChangeCallback] | None"
    pre_execute: "Callable[[Context], None] | None"
    post_execute: "Callable[[Context, Any], None] | None"
    trigger_rule: str
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    inlets: Any | None
    outlets: Any | None
    task_group: "TaskGroup | None"
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class TaskOptions(AirflowOptions, total=False):
    """Airflow's own arguments of an operator, except ``task_id`` and ``retry_policy``."""

    multiple_outputs: bool


class DecoratorOptions(AirflowOptions, total=False):
    """Airflow's own arguments of a decorator, except ``multiple_outputs`` and ``retry_policy``; none is required."""

    task_id: str


class SensorOptions(AirflowOptions, total=False):
    """Airflow's own arguments of sensors; see Airflow's ``BaseSensorOperator``."""

    poke_interval: timedelta | float
    timeout: timedelta | float | None
    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: timedelta | float | None
    silent_fail: bool
    never_fail: bool


def resolve_deferrable(deferrable: bool | None) -> bool:
    """Check the argument ``deferrable``, and return whether the task waits in the triggerer instead of on a worker.

    :param deferrable: argument of the task; ``None`` stands for Airflow's option ``[operators] default_deferrable``.
    :raises BasetenInputError: the argument is neither true, false nor ``None``.
    """
    if deferrable is None:
        return bool(conf.getboolean("operators", "default_deferrable"))
    check_flags(deferrable=deferrable)
    return deferrable
