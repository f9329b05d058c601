"""Call a model that stores its output in a file, and read the file.

The model is `models/language_report`. It writes the file to the folder in its input, with the request id as the name.
The operator reads the file once the status of the request is `SUCCEEDED`. No webhook is needed.
"""

import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator

MODEL_ID = "langrep01"
TEXTS = ["Hvor er min pakke?", "Wo bleibt meine Bestellung?"]
# Any storage that Airflow and the model both reach, for example s3://bucket/reports.
FOLDER = (Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "reports").as_uri()


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def own_results() -> None:
    report = BasetenAsyncPredictOperator(
        task_id="report",
        model_id=MODEL_ID,
        model_input={"texts": TEXTS, "folder": FOLDER},
        result_path=f"{FOLDER}/{{request_id}}.json",
        deferrable=True,
        retries=2,
        retry_delay=pendulum.duration(seconds=5),
    )

    @task
    def languages(found: dict[str, Any]) -> str:
        return ", ".join(found["languages"])

    languages(report.output)


own_results()
