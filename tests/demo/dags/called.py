"""Tasks that wait, that are refused, and that meet a busy server."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator

INPUT = {"text": "Wo ist mein Paket?"}

with DAG("called_waits", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(0)}):
    BasetenAsyncPredictOperator(
        task_id="deferred", model_id="{{ 'langid01' }}", model_input=INPUT, deferrable=True, poll_interval=1
    )

with DAG("called_in_vain", schedule=None, default_args={"retries": 5, "retry_delay": timedelta(0)}):
    BasetenPredictOperator(task_id="plain", model_id="langid01", model_input=INPUT, baseten_conn_id="refused")
    BasetenPredictOperator.partial(task_id="mapped", model_id="langid01", baseten_conn_id="refused").expand(
        model_input=[INPUT, INPUT]
    )

with DAG("called_too_soon", schedule=None):
    BasetenPredictOperator(
        task_id="busy", model_id="langid01", model_input=INPUT, retries=1, retry_delay=timedelta(hours=1)
    )
