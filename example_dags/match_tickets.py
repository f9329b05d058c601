"""Find the best help page for each support ticket, by comparing embeddings.

The DAG runs whenever the DAG `nightly_scoring` has exported tickets, which updates the asset `tickets`.
"""

import json
from pathlib import Path

import pendulum
from airflow.sdk import Asset, dag, task

from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.storage.outputs import read_output

MODEL_ID = "vectors1"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
PAGES = [
    "How to get money back for an invoice that was paid twice",
    "What to do when the app crashes",
    "How we replace goods that arrived broken",
    "Where is my parcel? Tracking a delivery",
    "I can't log in: forgotten and changed passwords",
]


@dag(
    schedule=[Asset("tickets")],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def match_tickets() -> None:
    @task
    def read_texts() -> list[str]:
        return [ticket["text"] for ticket in json.loads(TICKETS.read_text())]

    @task
    def match(tickets: list[list[float]], pages: list[list[float]]) -> list[str]:
        # If the vectors are too large for XCom, the task gets a reference to their file.
        tickets, pages = read_output(tickets), read_output(pages)

        def similarity(ticket: list[float], page: list[float]) -> float:
            return sum(one * other for one, other in zip(ticket, page, strict=True))

        return [
            max(zip(PAGES, pages, strict=True), key=lambda page: similarity(ticket, page[1]))[0] for ticket in tickets
        ]

    embed_tickets = BasetenEmbeddingOperator(task_id="embed_tickets", model_id=MODEL_ID, texts=read_texts())
    embed_pages = BasetenEmbeddingOperator(task_id="embed_pages", model_id=MODEL_ID, texts=PAGES)
    match(embed_tickets.output, embed_pages.output)


match_tickets()
