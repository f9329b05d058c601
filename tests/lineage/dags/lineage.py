"""Tasks of each kind, whose lineage is read back; assets with counts; and DAGs that a webhook starts."""

import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, AssetWatcher, task

from airflow_provider_baseten import (
    BasetenAsyncPredictOperator,
    BasetenAsyncRequestSensor,
    BasetenBatchPredictOperator,
    BasetenChatCompletionOperator,
    BasetenHook,
    BasetenPredictOperator,
    BasetenResultTrigger,
    baseten_asset,
    read_output,
)
from airflow_provider_baseten.api.target import Target

FOLDER = Path(os.environ["LINEAGE_FOLDER"])
SCORES = Asset("scores", uri=f"file://{FOLDER}/scores", extra={"owner": "team-a"})
RUN = {"retries": 0}


def mark(context: Any) -> None:
    """Set what a DAG author sets before the task runs."""
    context["outlet_events"][SCORES].extra["rows"] = "set by the author"
    context["outlet_events"][AssetAlias("versions")].add(baseten_asset(model_id="score", environment="staging"))


with DAG("lineage", schedule=None):
    BasetenBatchPredictOperator(
        task_id="bulk", model_id="score", input_path=FOLDER / "rows", output_path=f"{FOLDER}/scores", **RUN
    )
    BasetenBatchPredictOperator(
        task_id="bulk_chat",
        model_id="chat",
        preset="chat",
        inputs=["private-input"] * 3,
        parameters={"model": "tiny", "user": "private-input"},
        output_path=f"{FOLDER}/chats",
        **RUN,
    )
    BasetenPredictOperator(
        task_id="predict",
        model_id="echo",
        environment="development",
        model_input={"text": "private-input"},
        output_path=f"{FOLDER}/answers/",
        **RUN,
    )
    BasetenChatCompletionOperator(task_id="chat", model_id="chat", model="tiny", prompt="private-input", **RUN)
    for deferrable in (False, True):
        BasetenAsyncPredictOperator(
            task_id="deferred" if deferrable else "waiting",
            chain_id="chained",
            deployment_id="chainedd1",
            model_input={"text": "private-input"},
            deferrable=deferrable,
            output_path=f"{FOLDER}/{'deferred' if deferrable else 'waiting'}.json",
            **RUN,
        )
    BasetenPredictOperator(
        task_id="predict_in_triggerer", model_id="echo", model_input={"text": "private-input"}, deferrable=True, **RUN
    )
    BasetenPredictOperator(task_id="fails", model_id="broken", model_input={"text": "private-input"}, **RUN)
    BasetenPredictOperator(task_id="badly_named", model_id="{{ 'not an id' }}", model_input=1, **RUN)

    @task
    def hook() -> Any:
        return BasetenHook().predict(Target(model_id="echo", deployment_id="echod1"), {"text": "private-input"})

    stored = BasetenPredictOperator(
        task_id="store", model_id="echo", model_input={"text": "x"}, output_path=f"{FOLDER}/stored.json", **RUN
    )

    @task
    def read(value: Any) -> None:
        read_output(value)

    hook()
    read(stored.output)
    sent = BasetenAsyncPredictOperator(
        task_id="send",
        model_id="echo",
        model_input={"text": "private-input"},
        wait_for_completion=False,
        **RUN,
    )
    BasetenAsyncRequestSensor(task_id="sensor", request_ids=sent.output, model_id="echo", poke_interval=1, **RUN)

with DAG("producer", schedule=None):
    BasetenBatchPredictOperator(
        task_id="bulk",
        model_id="score",
        input_path=FOLDER / "rows",
        output_path=f"{FOLDER}/produced",
        outlets=[SCORES, AssetAlias("versions"), baseten_asset(model_id="score")],
        pre_execute=mark,
        **RUN,
    )

with DAG("on_model", schedule=[baseten_asset(model_id="score", environment="production")]):

    @task
    def models(triggering_asset_events: Any = None) -> Any:
        return [asset.uri for asset in triggering_asset_events]

    models()

with DAG("consumer", schedule=[SCORES]):

    @task
    def consume(triggering_asset_events: Any = None) -> Any:
        return [event.extra for event in triggering_asset_events[SCORES]]

    consume()

with DAG("submit", schedule=None):
    BasetenAsyncPredictOperator(
        task_id="submit",
        model_id="echo",
        model_input={"text": "{{ dag_run.conf.text }}"},
        wait_for_completion=False,
        webhook_endpoint="{{ dag_run.conf.endpoint }}",
        **RUN,
    )

for name in ("results", "more_results"):
    results = Asset(name, watchers=[AssetWatcher(name=name, trigger=BasetenResultTrigger())])
    with DAG(f"on_{name}", schedule=[results], max_active_runs=4):

        @task
        def take(triggering_asset_events: Any = None) -> Any:
            payloads = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
            results = [result for payload in payloads for result in payload["results"]]
            hook = BasetenHook(payloads[0]["baseten_conn_id"])
            return {"results": [result | {"output": hook.read_delivery(result["request_id"])} for result in results]}

        take()
