"""Identify the language of each support ticket, and of all tickets in one request, with decorated functions.

A function returns the input of the model; the task returns the output of the model.
"""

import json
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import dag, task

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowSkipException

MODEL_ID = "langid01"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
SHORTEST = 80


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def taskflow_tickets() -> None:
    @task
    def read_tickets() -> list[dict[str, str]]:
        return json.loads(TICKETS.read_text())

    @task.baseten_predict(model_id=MODEL_ID)
    def identify(ticket: dict[str, str]) -> dict[str, str]:
        if len(ticket["text"]) < SHORTEST:
            raise AirflowSkipException("The ticket is too short to identify its language.")
        return {"text": ticket["text"]}

    @task.baseten_async_predict(model_id=MODEL_ID, deferrable=True, retries=2, retry_delay=pendulum.duration(seconds=5))
    def identify_all(tickets: list[dict[str, str]]) -> dict[str, list[str]]:
        return {"text": [ticket["text"] for ticket in tickets]}

    @task(trigger_rule="none_failed")
    def compare(alone: list[dict[str, Any]], together: list[dict[str, Any]]) -> dict[str, list[str]]:
        return {
            "alone": [answer["language"] for answer in alone if answer],
            "together": [answer["language"] for answer in together],
        }

    tickets = read_tickets()
    compare(identify.expand(ticket=tickets), identify_all(tickets))


taskflow_tickets()
