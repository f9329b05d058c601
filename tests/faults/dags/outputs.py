"""Tasks that get awkward answers, and a task after them that reads what they return."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.storage.outputs import read_output

COMMON: dict[str, Any] = {
    "model_id": "m",
    "baseten_conn_id": "{{ dag_run.conf.connection }}",
    "retries": 5,
    "retry_delay": timedelta(0),
}


@task
def read(values: Any) -> list[str]:
    return [repr(read_output(value)) for value in values]


with DAG(dag_id="awkward_outputs", schedule=None) as awkward_outputs:

    @task
    def numbers(dag_run: Any) -> list[int]:
        return list(range(dag_run.conf["answers"]))

    read(BasetenPredictOperator.partial(task_id="predict", **COMMON).expand(model_input=numbers()).output)

with DAG(dag_id="failing_store", schedule=None) as failing_store:
    read([BasetenPredictOperator(task_id="predict", model_input=0, **COMMON).output])
