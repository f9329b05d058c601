"""A bulk job in shards, and one in a single task; both slow enough to be killed midway."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator

JOB: dict[str, Any] = {
    "model_id": "square",
    "input_path": "{{ dag_run.conf.input_path }}",
    "output_path": "{{ dag_run.conf.output_path }}",
    "requests_per_second": 125,
    "retries": 2,
    "retry_delay": timedelta(0),
}

with DAG(dag_id="sharded", schedule=None):
    BasetenBatchPredictGroup("score", num_shards=4, **JOB)

with DAG(dag_id="single", schedule=None):
    BasetenBatchPredictOperator(task_id="score", **JOB)
