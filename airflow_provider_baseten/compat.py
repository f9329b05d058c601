"""Private names of Airflow, and names that its supported versions have in different places, or not at all.

No other module uses such a name. Each was looked at in Airflow 3.1.0, 3.2.0 and 3.3.2, unless its docstring says
something else. Where Airflow could change it without a failure that somebody sees, and a secret would be disclosed or a
result be lost, the change is an ``ImportError`` or a log line when Airflow starts.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command
    from airflow.sdk import BaseHook
    from airflow.sdk.bases.decorator import (
        DecoratedOperator,
        TaskDecorator,
        determine_kwargs,
        task_decorator_factory,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.definitions._internal.abstractoperator import TaskStateChangeCallback
    from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralTimeout,
        TaskDeferred,
    )
    from airflow.sdk.execution_time.context import NEVER_EXPIRE
    from airflow.sdk.log import mask_secret
    from airflow.sdk.observability.stats import Stats
    from airflow.sdk.plugins_manager import AirflowPlugin
    from airflow.sdk.types import TaskInstanceKey
    from airflow.task.priority_strategy import PriorityWeightStrategy
    from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.sdk import RetryDecision, RetryPolicy

    KNOWS_RETRY_POLICY = True
except ImportError:  # Airflow below 3.3
    RetryDecision, RetryPolicy = None, object  # type: ignore[assignment, misc]
    KNOWS_RETRY_POLICY = False

__all__ = [
    "KNOWS_RETRY_POLICY",
    "NEVER_EXPIRE",
    "SET_DURING_EXECUTION",
    "ActionCommand",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowPlugin",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "Arg",
    "BaseHook",
    "BaseTrigger",
    "CLICommand",
    "DecoratedOperator",
    "GroupCommand",
    "PriorityWeightStrategy",
    "RenderingSeam",
    "ResumingSeam",
    "RetryDecision",
    "RetryPolicy",
    "Stats",
    "TaskDecorator",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "TaskInstanceKey",
    "TaskStateChangeCallback",
    "TriggerEvent",
    "allow_database_connections",
    "check_rendering_method",
    "clear_count",
    "conf",
    "count_resumable_job",
    "determine_kwargs",
    "lazy_load_command",
    "mask_secret",
    "push_link",
    "secrets_backends",
    "state_of_waiting_task",
    "task_decorator_factory",
    "task_state_store",
    "xcoms_are_msgpack",
]

_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_DECORATOR = ("airflow.sdk.bases.decorator",)
_CLI = ("airflow.cli.cli_config",)
_TRIGGERS = ("airflow.triggers.base",)
# Modules that have a name, those of the newest Airflow first. Each is imported when the name is asked for, because the
# plugin manager and the decorators are slow to import. Airflow's exceptions, `conf`, the plugin class and
# `determine_kwargs` moved in 3.2; `NEVER_EXPIRE` is of 3.3. `SET_DURING_EXECUTION` is private: it marks the argument
# that a decorated function gives. Without a name the import of its first user fails.
_MODULES = {
    "ActionCommand": _CLI,
    "AirflowException": _EXCEPTIONS,
    "AirflowFailException": _EXCEPTIONS,
    "AirflowNotFoundException": _EXCEPTIONS,
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "AirflowSensorTimeout": _EXCEPTIONS,
    "AirflowSkipException": _EXCEPTIONS,
    "AirflowTaskTimeout": _EXCEPTIONS,
    "Arg": _CLI,
    "BaseHook": ("airflow.sdk",),
    "BaseTrigger": _TRIGGERS,
    "CLICommand": _CLI,
    "DecoratedOperator": _DECORATOR,
    "GroupCommand": _CLI,
    "NEVER_EXPIRE": ("airflow.sdk",),
    "SET_DURING_EXECUTION": ("airflow.sdk.definitions._internal.types",),
    "Stats": ("airflow.sdk.observability.stats", "airflow.stats"),
    "TaskDecorator": _DECORATOR,
    "TaskDeferralTimeout": _EXCEPTIONS,
    "TaskDeferred": _EXCEPTIONS,
    "TriggerEvent": _TRIGGERS,
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "determine_kwargs": (*_DECORATOR, "airflow.utils.operator_helpers"),
    "lazy_load_command": _CLI,
    "mask_secret": ("airflow.sdk.log",),
    "task_decorator_factory": _DECORATOR,
}

_RENDERING_METHOD = "_do_render_template_fields"


def __getattr__(name: str) -> Any:
    """Return a name of Airflow from where this version has it."""
    for module in _MODULES.get(name, ()):
        try:
            value = getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r} with this version of Airflow")


class RenderingSeam:
    """Base of operators: Airflow's rendering of their template fields goes through :meth:`render_fields`.

    Airflow calls its private method ``_do_render_template_fields`` for mapped and plain operators alike, before it
    stores the rendered fields. If it stopped doing so, the inputs of models would be stored and shown in the UI without
    any failure, so :func:`check_rendering_method` looks for the method at load.
    """

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        render = partial(
            super()._do_render_template_fields,  # type: ignore[misc]
            parent,
            context=context,
            jinja_env=jinja_env,
            seen_oids=seen_oids,
        )
        if parent is self:
            self.render_fields(tuple(template_fields), jinja_env, render)
        else:
            render(template_fields)

    def render_fields(self, names: tuple[str, ...], jinja_env: Any, render: Callable[..., None]) -> None:
        """Render template fields of the operator.

        :param names: of the fields.
        :param jinja_env: environment that Airflow renders with.
        :param render: renders the fields whose names it is given.
        """
        render(names)


def check_rendering_method() -> None:
    """Check that Airflow renders operators with the method that :class:`RenderingSeam` overrides.

    :raises ImportError: it does not, so the inputs of models would be shown in its UI.
    """
    from airflow.sdk import BaseOperator

    if not hasattr(BaseOperator, _RENDERING_METHOD):
        raise ImportError(
            "airflow-provider-baseten does not know how this version of Airflow renders template fields, and would "
            "show the inputs of models in the UI. Install a newer airflow-provider-baseten, or an older Airflow."
        )


class ResumingSeam:
    """Base of operators: Airflow continues a deferred task through :meth:`resume`.

    Airflow's task runner calls the undocumented method ``resume_execution``. Without it, failures of resumed tasks are
    logged with their whole traceback, an ``execution_timeout`` is a ``TaskDeferralTimeout``, and below Airflow 3.3 the
    retry policy of a resumed task is not asked. Nothing is disclosed or lost.
    """

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Continue the task after its trigger has ended."""
        return self.resume(partial(super().resume_execution, next_method, next_kwargs, context))  # type: ignore[misc]

    def resume(self, call: Callable[[], Any]) -> Any:
        """Continue the task after its trigger has ended.

        :param call: calls the method that the task has named for this, or raises what ended the trigger.
        """
        return call()


def push_link(task_instance: Any, key: str, url: str) -> None:
    """Set a link of the running task where Airflow's UI looks for it.

    That is among its XComs in the database, past an XCom backend of the user. Airflow does the same at the end of a
    task, with the private method ``BaseXCom._set_xcom_in_db``. Without it a task has its link only after its end.
    """
    from airflow.sdk.bases.xcom import BaseXCom

    BaseXCom._set_xcom_in_db(
        key=key,
        value=url,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )


def secrets_backends() -> Callable[[], list[Any]] | None:
    """Return the function that lists the secrets backends of this process; ``None`` if this Airflow has none.

    ``ensure_secrets_backend_loaded`` is private. Without it the webhook receiver can't tell a connection that does not
    exist from a backend that is down, and refuses deliveries for good; the plugin logs this at its load.
    """
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:
        return None
    return ensure_secrets_backend_loaded


def allow_database_connections() -> None:
    """Let this process find connections in Airflow's database, as Airflow's own commands do.

    They set the private environment variable ``_AIRFLOW_PROCESS_CONTEXT`` for this. Without it only connections of
    environment variables and secrets backends are found.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def clear_count(task_instance: Any) -> int:
    """Return a number that is the same for all retries of a task instance, and another one after a clear.

    That a clear raises ``max_tries``, and a retry does not, is observed and not documented. If that changed, a cleared
    task would return its old result, or each retry would pay again.
    """
    count: int = task_instance.max_tries
    return count


def task_state_store(context: Mapping[str, Any] | Any) -> Any:
    """Return the task state store of a task; ``None`` below Airflow 3.3, which has none."""
    return context.get("task_state_store")


def state_of_waiting_task(trigger: Any) -> str | None:
    """Return the state of the task that a trigger waits for; ``None`` if Airflow no longer knows the task. Blocks.

    It reads the fields of ``BaseTrigger.task_instance`` and calls ``RuntimeTaskInstance.get_task_states``, which are
    undocumented. Without them nothing is cancelled when a user ends or clears a deferred task; that is logged.

    :raises LookupError: the trigger does not know its task.
    :raises Exception: Airflow does not answer.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    ti = trigger.task_instance
    if ti is None:
        raise LookupError("the trigger has no task instance")
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    if not any(states.values()):
        return None
    name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    state: str | None = states.get(ti.run_id, {}).get(name, "deferred")
    return state


def count_resumable_job(event: str, operator: object) -> None:
    """Count an event under the metric names of Airflow's ``ResumableJobMixin``, for dashboards that show them.

    The names are not documented; seen in 3.3.2.

    :param event: ``fresh_submit``, ``reconnect_success`` or ``terminal_resubmit``.
    """
    __getattr__("Stats").incr(f"resumable_job.{event}", tags={"operator": type(operator).__name__})


def xcoms_are_msgpack() -> bool:
    """Return whether the XComs of this process go to a supervisor as msgpack, which has no integers beyond 64 bits.

    They do in a task that a worker runs, and neither in ``dag.test()`` nor where no task runs. ``SUPERVISOR_COMMS`` is
    private. Without it such an integer fails the task after its request was paid.
    """
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(runner, "SUPERVISOR_COMMS", None)
    return channel is not None and type(channel).__name__ != "InProcessSupervisorComms"
