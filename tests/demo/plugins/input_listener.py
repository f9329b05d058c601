"""A listener that writes down the inputs of the tasks of one DAG file."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


def note(name: str, task_instance: Any) -> None:
    if task_instance.dag_id.startswith("inputs_read"):
        task = task_instance.task
        with (Path(os.environ["AIRFLOW_HOME"]) / f"{task.dag_id}.jsonl").open("a") as file:
            print(json.dumps([name, task.model_input, task.headers]), file=file)


@hookimpl
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    note("on_task_instance_running", task_instance)


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    note("on_task_instance_success", task_instance)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    note("on_task_instance_failed", task_instance)


class InputListener(AirflowPlugin):
    name = "input_listener"
    listeners = (sys.modules[__name__],)
