"""Switch a deployment on, score a batch with it, and switch it off again, also if the scoring has failed.

An inactive deployment has no replicas and costs nothing. The model needs a deployment that nothing else calls.
"""

import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import ObjectStoragePath, dag, task

from airflow_provider_baseten import (
    BasetenActivateDeploymentOperator,
    BasetenBatchPredictOperator,
    BasetenDeactivateDeploymentOperator,
)

MODEL_ID = "langid03"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
ROWS = 500
# Any storage that all workers reach, for example s3://conn@bucket/tickets.
FOLDER = (Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "score_on_demand").as_uri()
RUN = "{{ dag_run.run_after | ts_nodash }}"
# A retry changes nothing that is done already.
WAIT: dict[str, Any] = {"deferrable": True, "retries": 2, "retry_delay": pendulum.duration(seconds=5)}


@dag(
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # The end of one run would switch off the deployment of another one.
    max_active_runs=1,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def score_on_demand() -> None:
    @task
    def export_tickets(file: str) -> str:
        texts = [ticket["text"] for ticket in json.loads(TICKETS.read_text())]
        rows = [{"id": f"T-{number:05d}", "text": texts[number % len(texts)]} for number in range(ROWS)]
        path = ObjectStoragePath(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return file

    export = export_tickets(f"{FOLDER}/{RUN}/tickets.jsonl")
    activate = BasetenActivateDeploymentOperator(task_id="activate", model_id=MODEL_ID, **WAIT)
    score = BasetenBatchPredictOperator(
        task_id="score",
        model_id=MODEL_ID,
        input_path=export,
        output_path=f"{FOLDER}/{RUN}/languages",
        id_column="id",
    )
    deactivate = BasetenDeactivateDeploymentOperator(task_id="deactivate", model_id=MODEL_ID, **WAIT)

    @task
    def summary(manifest: dict[str, Any]) -> str:
        return f"{manifest['succeeded']} of {manifest['rows']} rows have a language"

    # The run also fails if the deployment stays on. A failed scoring makes `summary` fail, which no teardown hides.
    export >> activate >> score >> deactivate.as_teardown(setups=activate, on_failure_fail_dagrun=True)
    summary(score.output)


score_on_demand()
