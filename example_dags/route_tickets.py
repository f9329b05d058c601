"""Identify the language of each support ticket with a model, and branch on the languages.

A mapped task calls the model once for each ticket; the UI shows the ids of the tickets as names of its instances.

The model is `models/language_identifier`, deployed to Baseten with `truss push`, or served by the emulator.
"""

import json
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_baseten.operators.predict import BasetenPredictOperator

MODEL_ID = "langid01"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
DESKS = {"en": "english_desk", "de": "german_desk", "fr": "french_desk"}
OTHERS = "translators"


def desk_of(answer: dict[str, Any]) -> str:
    """Return the desk for a ticket from the model's output, e.g. `{"language": "de", "probability": 0.99}`."""
    return DESKS.get(answer["language"], OTHERS) if answer["probability"] > 0.5 else OTHERS


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def route_tickets() -> None:
    @task
    def read_tickets() -> list[dict[str, str]]:
        return json.loads(TICKETS.read_text())

    @task.branch
    def choose_desks(answers: list[dict[str, Any]]) -> list[str]:
        return sorted({desk_of(answer) for answer in answers})

    @task
    def assign(tickets: list[dict[str, str]], answers: list[dict[str, Any]], desk: str) -> list[str]:
        return [ticket["id"] for ticket, answer in zip(tickets, answers, strict=True) if desk_of(answer) == desk]

    tickets = read_tickets()
    identify = BasetenPredictOperator.partial(
        task_id="identify_language",
        model_id=MODEL_ID,
        map_index_template="{{ task.model_input['id'] }}",
    ).expand(model_input=tickets)
    chosen = choose_desks(identify.output)
    for desk in [*DESKS.values(), OTHERS]:
        chosen >> assign.override(task_id=desk)(tickets, identify.output, desk)


route_tickets()
