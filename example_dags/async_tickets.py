"""Each day, queue one prediction for all support tickets, wait for it without a worker slot, and use its output.

Baseten delivers the output to the webhook endpoint of the connection. Here this is the API server of this Airflow, in
which the receiver of the package stores the output for the task.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator

MODEL_ID = "langid01"
TICKETS = Path(__file__).parent / "data" / "tickets.json"


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def async_tickets() -> None:
    @task
    def read_texts() -> list[str]:
        return [ticket["text"] for ticket in json.loads(TICKETS.read_text())]

    identify = BasetenAsyncPredictOperator(
        task_id="identify_languages",
        model_id=MODEL_ID,
        model_input={"text": read_texts()},
        deferrable=True,
        retries=2,
        retry_delay=pendulum.duration(seconds=5),
    )

    @task
    def count(answers: list[dict[str, Any]]) -> dict[str, int]:
        return dict(Counter(answer["language"] for answer in answers))

    count(identify.output)


async_tickets()
