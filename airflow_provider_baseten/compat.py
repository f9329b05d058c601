"""Names of Airflow that moved between its supported versions or are private, and what versions lack."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import BaseHook
    from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory
    from airflow.sdk.configuration import conf
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
    from airflow.sdk.observability.stats import Stats
    from airflow.sdk.plugins_manager import AirflowPlugin

try:
    from airflow.sdk import RetryDecision, RetryPolicy

    KNOWS_RETRY_POLICY = True
except ImportError:  # Airflow below 3.3
    RetryDecision, RetryPolicy = None, object  # type: ignore[assignment, misc]
    KNOWS_RETRY_POLICY = False

__all__ = [
    "KNOWS_RETRY_POLICY",
    "SET_DURING_EXECUTION",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowPlugin",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "DecoratedOperator",
    "RetryDecision",
    "RetryPolicy",
    "Stats",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "check_rendering_method",
    "conf",
    "determine_kwargs",
    "push_link",
    "secrets_backends",
    "task_decorator_factory",
    "xcoms_are_msgpack",
]

# Modules that have a name, the newest Airflow's first; looked at in 3.1.0, 3.2.0 and 3.3.2. Each is imported when it
# is asked for, because the plugin manager and the decorators are slow to import.
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_MODULES = {
    "AirflowException": _EXCEPTIONS,
    "AirflowFailException": _EXCEPTIONS,
    "AirflowNotFoundException": _EXCEPTIONS,
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "AirflowSensorTimeout": _EXCEPTIONS,
    "AirflowSkipException": _EXCEPTIONS,
    "AirflowTaskTimeout": _EXCEPTIONS,
    "BaseHook": ("airflow.sdk",),
    "DecoratedOperator": ("airflow.sdk.bases.decorator",),
    "SET_DURING_EXECUTION": ("airflow.sdk.definitions._internal.types",),
    "Stats": ("airflow.sdk.observability.stats", "airflow.stats"),
    "TaskDeferralTimeout": _EXCEPTIONS,
    "TaskDeferred": _EXCEPTIONS,
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "determine_kwargs": ("airflow.sdk.bases.decorator", "airflow.utils.operator_helpers"),
    "task_decorator_factory": ("airflow.sdk.bases.decorator",),
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


def check_rendering_method() -> None:
    """Check that Airflow renders operators with the method that hides the inputs of models. Seen in 3.1.0 to 3.3.2.

    :raises ImportError: it does not, so the inputs would be shown in its UI.
    """
    from airflow.sdk import BaseOperator

    if not hasattr(BaseOperator, _RENDERING_METHOD):
        raise ImportError(
            "airflow-provider-baseten does not know how this version of Airflow renders template fields, and would "
            "show the inputs of models in the UI. Install a newer airflow-provider-baseten, or an older Airflow."
        )


def push_link(task_instance: Any, key: str, url: str) -> None:
    """Set a link of the running task where Airflow's UI looks for it: among its XComs in the database, past a backend
    of the user. Airflow does the same at the end of a task, with this private method; seen in 3.1.0 to 3.3.2.
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
    """Return what lists the places where this process looks for connections, ``None`` if this Airflow has no such
    function. It is private to Airflow; last seen in 3.3.2.
    """
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:
        return None
    return ensure_secrets_backend_loaded


def xcoms_are_msgpack() -> bool:
    """Tell whether the XComs of this process go to a supervisor as msgpack, which has no integers beyond 64 bits.

    They do in a task that a worker runs, and neither in ``dag.test()`` nor where no task runs. Seen in Airflow 3.3.2.
    """
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(runner, "SUPERVISOR_COMMS", None)
    return channel is not None and type(channel).__name__ != "InProcessSupervisorComms"
