"""A task for each kind of call."""

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenBatchPredictOperator,
    BasetenChatCompletionOperator,
    BasetenHook,
    BasetenPredictOperator,
    BasetenSyncRouteOperator,
)
from airflow_provider_baseten.api.target import Target

OWN_TRACE = "00-11111111111111111111111111111111-2222222222222222-01"

with DAG("observed", schedule=None, default_args={"retries": 0}):
    BasetenPredictOperator(task_id="predict", model_id="echo", model_input={"text": "a"})
    BasetenPredictOperator(task_id="refused_once", model_id="busy", model_input={"text": "b"})
    BasetenPredictOperator(task_id="broken", model_id="broken", model_input={"text": "c"})
    BasetenPredictOperator(task_id="deferred", model_id="echo", model_input={"text": "d"}, deferrable=True)
    BasetenPredictOperator(
        task_id="own_trace", model_id="own", model_input={"text": "e"}, headers={"Traceparent": OWN_TRACE}
    )
    BasetenAsyncPredictOperator(
        task_id="queued", model_id="queue", model_input={"text": "f"}, deferrable=True, poll_interval=1
    )
    BasetenAsyncPredictOperator(
        task_id="queued_on_worker", model_id="queue", model_input={"text": "g"}, deferrable=False, poll_interval=1
    )
    BasetenChatCompletionOperator(task_id="chat", model_id="chat", model="llama", prompt="h")
    BasetenSyncRouteOperator(task_id="route", model_id="server", route="v1/things/5", query_params={"secret": "i"})
    BasetenBatchPredictOperator(
        task_id="bulk",
        model_id="rows",
        inputs=[{"number": number} for number in range(40)],
        output_path="{{ dag_run.conf.folder }}/bulk",
    )
    BasetenBatchPredictOperator(
        task_id="bulk_chat",
        model_id="chats",
        preset="chat",
        inputs=[f"j{number}" for number in range(30)],
        parameters={"model": "llama"},
        output_path="{{ dag_run.conf.folder }}/bulk_chat",
    )

    @task
    def by_hook() -> Any:
        return BasetenHook().predict(Target(model_id="echo"), {"text": "k"})

    by_hook()
