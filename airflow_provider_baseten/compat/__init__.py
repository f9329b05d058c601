"""Names of Airflow that are private, that some versions of Airflow lack, or whose module differs between versions.

Other modules of this package import such names from here. Each name was checked in Airflow 3.1.8, 3.2.2 and 3.3.2, or
in the versions that its docstring names.

If Airflow drops one of these names, the import fails with an ``ImportError`` that says what to install. The docstrings
of the classes and functions say what happens if Airflow drops another private name.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command
    from airflow.plugins_manager import get_plugin_info
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk import BaseHook, RetryDecision, RetryPolicy
    from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, determine_kwargs, task_decorator_factory
    from airflow.sdk.configuration import conf
    from airflow.sdk.definitions._internal.abstractoperator import TaskStateChangeCallback
    from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
    from airflow.sdk.definitions.asset import AssetRef
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
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

    KNOWS_RETRY_POLICY: bool

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
    "AssetRef",
    "BaseEventTrigger",
    "BaseHook",
    "BaseTrigger",
    "CLICommand",
    "DecoratedOperator",
    "GroupCommand",
    "PriorityWeightStrategy",
    "ProvidersManager",
    "RenderingOverride",
    "ResumingOverride",
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
    "get_plugin_info",
    "lazy_load_command",
    "mask_secret",
    "push_early",
    "secrets_backends",
    "state_of_waiting_task",
    "task_decorator_factory",
    "task_state_store",
    "xcoms_are_msgpack",
]

# The modules in which each name is looked up, beginning with its module in the newest Airflow. A module is imported
# when the name is first used, because some are slow to import. Airflow's exceptions, `conf`, the plugin class and
# `determine_kwargs` moved in 3.2. `NEVER_EXPIRE` exists from 3.3 on. `SET_DURING_EXECUTION` is private: a placeholder
# for a model input that a decorated function returns in the task.
_MODULES = {
    name: modules
    for names, modules in {
        "BaseHook NEVER_EXPIRE RetryDecision RetryPolicy": ("airflow.sdk",),
        "AirflowException AirflowFailException AirflowNotFoundException AirflowSensorTimeout AirflowSkipException "
        "AirflowTaskTimeout TaskDeferralTimeout TaskDeferred": ("airflow.sdk.exceptions", "airflow.exceptions"),
        "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
        "AssetRef": ("airflow.sdk.definitions.asset",),
        "BaseEventTrigger BaseTrigger TriggerEvent": ("airflow.triggers.base",),
        "ActionCommand Arg CLICommand GroupCommand lazy_load_command": ("airflow.cli.cli_config",),
        "DecoratedOperator TaskDecorator task_decorator_factory": ("airflow.sdk.bases.decorator",),
        "determine_kwargs": ("airflow.sdk.bases.decorator", "airflow.utils.operator_helpers"),
        "SET_DURING_EXECUTION": ("airflow.sdk.definitions._internal.types",),
        "Stats": ("airflow.sdk.observability.stats", "airflow.stats"),
        "conf": ("airflow.sdk.configuration", "airflow.configuration"),
        "mask_secret": ("airflow.sdk.log",),
        "get_plugin_info": ("airflow.plugins_manager",),
        "ProvidersManager": ("airflow.providers_manager",),
    }.items()
    for name in names.split()
}

# Replacements for names that Airflow below 3.3 lacks and that this package can do without.
_STAND_INS = {"RetryDecision": None, "RetryPolicy": object}

_RENDERING_METHOD = "_do_render_template_fields"

log = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    """Import a name of Airflow from the module in which the installed version has it.

    :raises ImportError: the installed version has no such name, and there is no replacement for the name. The message
        tells the version. It would be lost in an ``AttributeError``, which ``from ... import`` replaces.
    """
    modules, cause = _MODULES.get(name, ()), None
    if name == "Stats":  # From 3.2 on, this module configures the metrics of each process that loads it.
        with suppress(ImportError):
            import_module("airflow.sdk.serde")
    for module in modules:
        try:
            value = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            cause = error
            continue
        globals()[name] = value
        return value
    if name == "KNOWS_RETRY_POLICY":
        return __getattr__("RetryPolicy") is not object
    if name in _STAND_INS:
        return _STAND_INS[name]
    if not modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise unknown_airflow(f"finds no {name} in {' or '.join(modules)}") from cause


def unknown_airflow(problem: str) -> ImportError:
    """Return an error for the installed version of Airflow; ``problem`` says what this package can't do with it."""
    from airflow import __version__

    return ImportError(
        f"airflow-provider-baseten {problem} with Airflow {__version__}; it was checked with Airflow 3.1.8, 3.2.2 and "
        "3.3.2. Install a newer airflow-provider-baseten, or an older Airflow."
    )


class RenderingOverride:
    """Base class of operators that render their template fields themselves, with :meth:`render_fields`.

    Airflow renders the fields of every operator, mapped or not, with its private method ``_do_render_template_fields``.
    Airflow then stores the rendered fields and shows them in the UI. This class overrides the method, so that a
    subclass can hide inputs of models before they are stored. If Airflow rendered with another method, the override
    would not run, and the inputs would be stored and shown without an error. Therefore :func:`check_rendering_method`
    checks at import that the method exists.
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

        :param names: names of the fields.
        :param jinja_env: Jinja environment of the DAG.
        :param render: Airflow's own rendering: a function that takes names of fields and renders these fields.
        """
        render(names)


def check_rendering_method() -> None:
    """Check that Airflow renders operators with the method that :class:`RenderingOverride` overrides.

    :raises ImportError: Airflow has no such method. The operators could then not hide the inputs of models from
        Airflow's UI.
    """
    from airflow.sdk import BaseOperator

    if not hasattr(BaseOperator, _RENDERING_METHOD):
        raise unknown_airflow("does not know how template fields are rendered, and would show inputs of models,")


class ResumingOverride:
    """Base class of operators that continue through :meth:`resume` after a deferral.

    Airflow's task runner calls the undocumented method ``resume_execution`` to continue a deferred task. If Airflow
    drops it, failures of resumed tasks are logged with their whole traceback, an expired ``execution_timeout`` raises
    ``TaskDeferralTimeout``, and below Airflow 3.3 the retry policy does not apply to resumed tasks. Nothing is
    disclosed or lost.
    """

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Continue the task after its trigger has ended."""
        return self.resume(partial(super().resume_execution, next_method, next_kwargs, context))  # type: ignore[misc]

    def resume(self, call: Callable[[], Any]) -> Any:
        """Continue the task after its trigger has ended.

        :param call: function that continues the task. It calls the method that the task named when it was deferred, or
            raises the error of the trigger.
        """
        return call()


def push_early(task_instance: Any, key: str, value: Any) -> None:
    """Push an XCom that Airflow's UI shows while the task runs, such as a link.

    The UI reads links from the task's XComs in the database, without the user's XCom backend. Airflow writes a link
    there only when the task ends. This function writes it earlier, with the private method
    ``BaseXCom._set_xcom_in_db``, which Airflow uses too. If Airflow drops this method, links appear only at the end of
    the task, and Baseten's pages show no tasks. A warning then says so, once for each process.
    """
    from airflow.sdk.bases.xcom import BaseXCom

    push = getattr(BaseXCom, "_set_xcom_in_db", None)
    if push is None:
        _warn_once("This version of Airflow has no known way to set a link early: links appear when their tasks end.")
        return
    ti = task_instance
    push(key=key, value=value, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)


@cache
def _warn_once(message: str) -> None:
    log.warning(message)


def secrets_backends() -> Callable[[], list[Any]] | None:
    """Return the function that lists the secrets backends of this process; ``None`` if Airflow has no such function.

    The function ``ensure_secrets_backend_loaded`` is private. The webhook receiver calls the listed backends to
    distinguish a connection that does not exist from a backend that is down. If Airflow drops the function, the
    connections of a backend seem not to exist while the backend is down, and the receiver refuses deliveries for these
    connections. The plugin logs an error when Airflow starts if the function is missing.
    """
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:
        return None
    return ensure_secrets_backend_loaded


def allow_database_connections() -> None:
    """Let this process find connections in Airflow's database, as Airflow's own commands do.

    Airflow's commands set the private environment variable ``_AIRFLOW_PROCESS_CONTEXT``, which exists from 3.1.1 on.
    Without it, only connections in environment variables and secrets backends are found.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def clear_count(task_instance: Any) -> int:
    """Return a number that stays the same when a task instance is retried, and changes when a user clears the task.

    The number is ``max_tries`` of the task instance. A clear increases this number, a retry does not change it. Airflow
    does not document this rule. If Airflow changed the rule, a cleared task would return its old result, or each retry
    would pay again.
    """
    count: int = task_instance.max_tries
    return count


def task_state_store(context: Mapping[str, Any] | Any) -> Any:
    """Return the task state store of a task; ``None`` below Airflow 3.3, which has no such store."""
    return context.get("task_state_store")


def state_of_waiting_task(trigger: Any) -> str | None:
    """Return the state of the deferred task that a trigger runs for. The function blocks.

    The result is ``None`` if the task no longer exists. The function uses two undocumented parts of Airflow: the fields
    of ``BaseTrigger.task_instance``, and the method ``RuntimeTaskInstance.get_task_states``. If Airflow drops one of
    them, the request of a deferred task is not cancelled when a user ends or clears the task; a log line then says so.

    :raises LookupError: the trigger has no task instance.
    :raises Exception: Airflow's API does not respond.
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
    """Count an event under the metric names of Airflow's ``ResumableJobMixin`` (undocumented; those of 3.3.2).

    :param event: ``fresh_submit``, ``reconnect_success`` or ``terminal_resubmit``.
    """
    __getattr__("Stats").incr(f"resumable_job.{event}", tags={"operator": type(operator).__name__})


def xcoms_are_msgpack() -> bool:
    """Return whether this process sends XComs to a supervisor as msgpack, which has no integers beyond 64 bits.

    The result is true in a task on a worker, and false in ``dag.test()`` and in processes without a task. The channel
    to the supervisor, ``SUPERVISOR_COMMS``, is private: Airflow declares it when it loads its task runner, and sets it
    when a task starts. If Airflow drops it, the result is true wherever the task runner is loaded. If the result were
    false by mistake, a task whose output has a larger integer would fail after its request was paid for.
    """
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    if runner is None:
        return False
    if not hasattr(runner, "SUPERVISOR_COMMS"):
        return "SUPERVISOR_COMMS" not in getattr(runner, "__annotations__", {})
    return type(runner.SUPERVISOR_COMMS).__name__ not in {"NoneType", "InProcessSupervisorComms"}
