"""Tasks whose input is read by what surrounds them: names of mapped tasks, hooks, callbacks and listeners."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_baseten.operators.predict import BasetenPredictOperator


def reader(name: str, *, fails: bool = False) -> Any:
    """Return a callback that writes down the input that it has read."""

    def read(context: dict[str, Any]) -> None:
        task = context["task"]
        with (Path(os.environ["AIRFLOW_HOME"]) / f"{task.dag_id}.jsonl").open("a") as file:
            print(json.dumps([name, task.model_input, task.headers]), file=file)
        if fails:
            raise RuntimeError("A callback of this DAG fails.")

    return read


with DAG("inputs_name_tasks", schedule=None):
    BasetenPredictOperator.partial(
        task_id="mapped",
        model_id="langid01",
        retries=2,
        retry_delay=timedelta(0),
        map_index_template="{{ task.model_input['text'] }}",
    ).expand(model_input=[{"text": "Wo ist mein Paket?"}, {"text": "Where is my parcel?"}])

with DAG("inputs_read", schedule=None):
    BasetenPredictOperator(
        task_id="predict",
        model_id="langid01",
        model_input={"text": "Wo ist {{ 'mein' }} Paket?"},
        headers={"X-Tenant": "{{ 1 + 2 }}"},
        retries=2,
        retry_delay=timedelta(0),
        pre_execute=reader("pre_execute"),
        on_execute_callback=reader("on_execute_callback"),
        on_success_callback=reader("on_success_callback", fails=True),
    )

with DAG("inputs_read_after_failure", schedule=None):
    BasetenPredictOperator(
        task_id="predict",
        model_id="unknown",
        model_input={"text": "Wo ist {{ 'mein' }} Paket?"},
        headers={"X-Tenant": "{{ 1 + 2 }}"},
        on_failure_callback=reader("on_failure_callback", fails=True),
    )

with DAG("inputs_read_while_deferred", schedule=None):
    BasetenPredictOperator(
        task_id="predict",
        model_id="langid01",
        model_input={"text": "Wo ist {{ 'mein' }} Paket?"},
        headers={"X-Tenant": "{{ 1 + 2 }}"},
        deferrable=True,
        map_index_template="{{ task.model_input['text'] }}",
        on_success_callback=reader("on_success_callback"),
    )
