"""Each operator with an input that comes from another task, so that the file of the DAG holds no input."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenAsyncRequestSensor,
    BasetenBatchPredictGroup,
    BasetenBatchPredictOperator,
    BasetenChatCompletionOperator,
    BasetenEmbeddingOperator,
    BasetenPredictOperator,
    BasetenSyncRouteOperator,
)

HERE = Path(os.environ["CANARY_FOLDER"])
RETRIED: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(0)}


# Airflow itself logs what a Python task returns.
@task(show_return_value_in_logs=False)
def read() -> dict[str, str]:
    return json.loads((HERE / "inputs.json").read_text())


with DAG("canaries_wait", schedule=None, default_args={"deferrable": True}):
    given = read()
    BasetenPredictOperator(task_id="predict", model_id="echo", model_input=given, headers=given)
    BasetenAsyncPredictOperator(task_id="queued", model_id="echo", model_input=given, headers=given)
    sent = BasetenAsyncPredictOperator(
        task_id="sent", model_id="echo", model_input=given, wait_for_completion=False, deferrable=False
    )
    BasetenAsyncRequestSensor(task_id="sensor", model_id="echo", request_ids=sent.output)

with DAG("canaries_succeed", schedule=None):
    given = read()
    BasetenPredictOperator(task_id="predict", model_id="echo", model_input=given, headers=given)
    BasetenPredictOperator(task_id="large", model_id="large", model_input=given)
    BasetenPredictOperator.partial(task_id="mapped", model_id="echo").expand(model_input=[given, given])
    BasetenSyncRouteOperator(
        task_id="route", model_id="server", method="POST", route="v1/echo", json=given, query_params=given
    )
    BasetenAsyncPredictOperator(task_id="queued", model_id="echo", model_input=given, deferrable=False)
    BasetenChatCompletionOperator(task_id="chat", model_id="chat", prompt=given["text"])
    BasetenEmbeddingOperator(task_id="embed", model_id="vectors1", texts=[given["text"]])

    @task.baseten_predict(model_id="echo")
    def decorated(values: dict[str, str]) -> dict[str, str]:
        return values

    @task.baseten_chat(model_id="chat")
    def asked(values: dict[str, str]) -> str:
        return values["text"]

    decorated(given)
    asked(given)

    @task(show_return_value_in_logs=False)
    def rows(values: dict[str, str]) -> list[dict[str, str]]:
        return [values] * 5

    BasetenBatchPredictOperator(
        task_id="rows_of_xcom", model_id="echo", inputs=rows(given), output_path=f"{HERE}/outputs/rows"
    )
    BasetenBatchPredictGroup(
        "shards",
        model_id="echo",
        num_shards=2,
        input_path=f"{HERE}/rows.jsonl",
        output_path=f"{HERE}/outputs/shards",
    )

with DAG("canaries_fail", schedule=None, default_args=RETRIED):
    given = read()
    for model in ("broken", "refuses", "unreadable"):
        BasetenPredictOperator(task_id=model, model_id=model, model_input=given, headers=given)
        BasetenPredictOperator(task_id=f"{model}_deferred", model_id=model, model_input=given, deferrable=True)
        BasetenAsyncPredictOperator(task_id=f"{model}_queued", model_id=model, model_input=given, deferrable=True)
    BasetenPredictOperator(task_id="key_refused", model_id="echo", model_input=given, baseten_conn_id="refused")
    BasetenChatCompletionOperator(task_id="chat_fails", model_id="brokenchat", prompt=given["text"])
    BasetenSyncRouteOperator(task_id="route_fails", model_id="server", method="POST", route="v1/refuse", json=given)
    BasetenBatchPredictOperator(
        task_id="rows_fail",
        model_id="refuses",
        input_path=f"{HERE}/rows.jsonl",
        output_path=f"{HERE}/outputs/failed",
    )
