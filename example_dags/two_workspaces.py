"""Call a model in two workspaces, and compare the outputs.

Each workspace has its own Airflow connection with its own API key: `baseten_default` for production, `baseten_staging`
for a release candidate. `baseten_conn_id` selects the connection of a task. The ids of the models differ, too; both
models are `models/language_identifier`.
"""

import json
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_baseten import BasetenPredictOperator

PRODUCTION = {"baseten_conn_id": "baseten_default", "model_id": "langid01"}
STAGING = {"baseten_conn_id": "baseten_staging", "model_id": "langid02"}
TICKETS = Path(__file__).parent / "data" / "tickets.json"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def two_workspaces() -> None:
    @task
    def read_tickets() -> list[dict[str, str]]:
        return json.loads(TICKETS.read_text())

    @task
    def compare(production: list[dict[str, Any]], staging: list[dict[str, Any]]) -> str:
        same = sum(old["language"] == new["language"] for old, new in zip(production, staging, strict=True))
        return f"{same} of {len(production)} answers are the same"

    tickets = read_tickets()
    production = BasetenPredictOperator.partial(task_id="production", **PRODUCTION).expand(model_input=tickets)
    staging = BasetenPredictOperator.partial(task_id="staging", **STAGING).expand(model_input=tickets)
    compare(production.output, staging.output)


two_workspaces()
