"""Call the routes of a custom server that runs on Baseten.

The server is `models/language_server`, deployed as a `docker_server`: each of its routes is available below `sync/` of
the model.
"""

from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator

MODEL_ID = "langsrv1"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"text": "Hvor er min pakke?"},
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def language_routes() -> None:
    languages = BasetenSyncRouteOperator(
        task_id="languages",
        model_id=MODEL_ID,
        method="GET",
        route="v1/languages",
    )
    rank = BasetenSyncRouteOperator(
        task_id="rank",
        model_id=MODEL_ID,
        method="POST",
        route="v1/rank",
        query_params={"top": 3},
        json={"text": "{{ params.text }}"},
    )

    @task
    def summary(known: dict[str, list[str]], ranking: list[dict[str, Any]]) -> str:
        return f"{ranking[0]['language']}, the likeliest of {len(known['languages'])} languages"

    summary(languages.output, rank.output)


language_routes()
