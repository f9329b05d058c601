"""Right and wrong calls as type checkers see them: every line that ends in ``# wrong`` is an error, and no other."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_baseten.decorators.async_predict import baseten_async_predict
from airflow_provider_baseten.decorators.batch import baseten_batch
from airflow_provider_baseten.decorators.chat import baseten_chat
from airflow_provider_baseten.decorators.predict import baseten_predict
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

with DAG("calls", default_args={"model_id": "abcd1234"}):
    BasetenPredictOperator(task_id="p", model_id="m", model_input=1, retries=2, timeout=5, pool="gpu")
    BasetenPredictOperator(task_id="p", model_input={"a": 1}, baseten_conn_id="staging", regional=True)
    BasetenPredictOperator(task_id="p", modelid="m", model_input=1)  # wrong
    BasetenPredictOperator(task_id="p", model_id=3, model_input=1)  # wrong
    BasetenPredictOperator(task_id="p", model_id="m")  # wrong
    BasetenPredictOperator(model_id="m", model_input=1)  # wrong
    BasetenPredictOperator(task_id="p", model_id="m", model_input=1, timeout="5")  # wrong
    BasetenPredictOperator(task_id="p", model_id="m", model_input=1, retry="5")  # wrong

    send = BasetenAsyncPredictOperator(
        task_id="a",
        chain_id="c",
        model_input=1,
        wait_for_completion=False,
        execution_timeout=timedelta(hours=1),
    )
    BasetenAsyncPredictOperator(task_id="a", chain_id="c", model_input=1, wait_for_completion="no")  # wrong
    BasetenAsyncPredictOperator(task_id="a", chain_id="c", model_input=1, conn_id="prod")  # wrong

    BasetenAsyncRequestSensor(task_id="s", chain_id="c", request_ids=send.output, mode="reschedule")
    BasetenAsyncRequestSensor(task_id="s", chain_id="c", request_ids=["r1"], poke_interval=timedelta(minutes=1))
    BasetenAsyncRequestSensor(task_id="s", chain_id="c", request_ids=3)  # wrong
    BasetenAsyncRequestSensor(task_id="s", chain_id="c", request_ids="r", environment="e")  # wrong

    BasetenSyncRouteOperator(task_id="r", model_id="m", route="v1/rank", method="POST", json={"q": 1})
    BasetenSyncRouteOperator(task_id="r", model_id="m", path="v1/rank")  # wrong

    BasetenChatCompletionOperator(task_id="c", model_apis=True, model="x/y", prompt="Hi", idempotent=True)
    BasetenChatCompletionOperator(task_id="c", model_id="m", messages="Hi")  # wrong
    BasetenChatCompletionOperator(task_id="c", model_id="m", prompt="Hi", on_incomplete="ignore")  # wrong

    BasetenEmbeddingOperator(task_id="e", model_id="m", texts=["a", "b"], dimensions=8)
    BasetenEmbeddingOperator(task_id="e", model_id="m", texts=["a", "b"], dimension=8)  # wrong

    BasetenBatchPredictOperator(task_id="b", model_id="m", input_path="in", output_path="out", max_concurrency="auto")
    BasetenBatchPredictOperator(task_id="b", model_id="m", input_path="in", output_path="out", preset="any")  # wrong
    BasetenBatchPredictOperator(task_id="b", model_id="m", input_path="in")  # wrong

    BasetenBatchPredictGroup("g", model_id="m", num_shards=2, input_path="in", output_path="out", retries=3)
    BasetenBatchPredictGroup("g", modelid="m", num_shards=2, input_path="in", output_path="out")  # wrong
    BasetenBatchPredictGroup("g", model_id="m", num_shards=2, input_path="in", output_path="out", shard=1)  # wrong

    @baseten_predict(task_id="p", model_id="m", deferrable=True, map_index_template="{{ task.op_kwargs['text'] }}")
    def predict(text: str) -> dict[str, str]:
        return {"text": text}

    predict("a")
    predict(text=1)  # wrong

    @baseten_async_predict(model_id="m", poll_interval=5, multiple_outputs=True)
    def queue(text: str) -> dict[str, str]:
        return {"text": text}

    @baseten_chat(model_id="m", tools=[])
    def ask(text: str) -> str:
        return text

    @baseten_batch(model_id="m", output_path="out", rows_per_request=4)
    def rows() -> list[int]:
        return [1]

    baseten_predict(modelid="m")  # wrong
    baseten_predict(model_id="m", model_input=1)  # wrong
    baseten_async_predict(model_id="m", priority="high")  # wrong
    baseten_chat(model_id="m", prompts="Hi")  # wrong
    baseten_batch(model_id="m")  # wrong
