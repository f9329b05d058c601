"""Mapped tasks, each of which calls a model once: a DAG for each way to wait and each number of tasks."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

WAYS: dict[str, tuple[type, dict[str, Any]]] = {
    "deferred": (BasetenAsyncPredictOperator, {"deferrable": True, "poll_interval": 2}),
    "blocking": (BasetenAsyncPredictOperator, {"deferrable": False, "poll_interval": 2}),
    "predict": (BasetenPredictOperator, {}),
}

for way, (operator, options) in WAYS.items():
    for tasks in (1, 2, 4, 12):
        with DAG(dag_id=f"{way}_{tasks}", schedule=None) as dag:
            operator.partial(
                task_id="call",
                model_id="{{ dag_run.conf.model }}",
                baseten_conn_id="{{ dag_run.conf.connection }}",
                retries=5,
                retry_delay=timedelta(seconds=3),
                **options,
            ).expand(model_input=[{"n": number} for number in range(tasks)])
        globals()[dag.dag_id] = dag
