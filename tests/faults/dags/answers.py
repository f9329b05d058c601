"""Tasks whose models answer what an attacker would like to see in Airflow, in each way to send a request."""

import logging
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.storage.outputs import read_output

COMMON: dict[str, Any] = {"baseten_conn_id": "{{ dag_run.conf.connection }}", "retries": 0}

PREDICTS: dict[str, tuple[type, dict[str, Any]]] = {
    "blocking": (BasetenPredictOperator, {}),
    "deferred": (BasetenPredictOperator, {"deferrable": True}),
}
WAYS = PREDICTS | {"async": (BasetenAsyncPredictOperator, {"deferrable": True, "poll_interval": 1})}


def log_peak_of_memory(context: Any, result: Any = None) -> None:
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    logging.getLogger(__name__).info("Peak of memory: %d bytes", 1024 * int(peak))


@task
def read(values: Any) -> list[str]:
    return [repr(read_output(value)) for value in values]


with DAG(dag_id="forged_references", schedule=None) as forged_references:

    @task
    def answer_of_hook(dag_run: Any) -> Any:
        return BasetenHook(dag_run.conf["connection"]).predict(Target(model_id="forger"), {"number": 0})

    answers = [
        operator(
            task_id=f"{way}_{number}", model_id="forger", model_input={"number": number}, **COMMON, **options
        ).output
        for way, (operator, options) in WAYS.items()
        for number in range(3)
    ]
    read(answers)
    read.override(task_id="read_of_hook")([answer_of_hook()])

with DAG(dag_id="bombs", schedule=None) as bombs:
    after = BasetenPredictOperator(
        task_id="after",
        model_id="m",
        model_input="harmless",
        deferrable=True,
        trigger_rule="all_failed",
        **COMMON,
    )
    for way, (operator, options) in PREDICTS.items():
        bomb = operator(
            task_id=way,
            model_id="m",
            model_input="bomb",
            pre_execute=log_peak_of_memory,
            on_failure_callback=log_peak_of_memory,
            **COMMON,
            **options,
        )
        bomb >> after

with DAG(dag_id="quotes_of_input", schedule=None) as quotes_of_input:
    for way, (operator, options) in WAYS.items():
        operator(task_id=way, model_id="quoter", model_input={"text": "{{ dag_run.conf.text }}"}, **COMMON, **options)
