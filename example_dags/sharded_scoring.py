"""Spread a bulk job over the workers of a cluster: each of four tasks runs a shard, another task merges the manifests.

The model takes up to 1,000 texts in one request, so each request has 50 rows.
"""

import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import ObjectStoragePath, dag, task

from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup

MODEL_ID = "langid01"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
ROWS = 2_000
# Any storage that all workers reach, for example s3://conn@bucket/tickets.
FOLDER = (Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "sharded_scoring").as_uri()
RUN = "{{ dag_run.run_after | ts_nodash }}"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def sharded_scoring() -> None:
    @task
    def export_tickets(file: str) -> str:
        texts = [ticket["text"] for ticket in json.loads(TICKETS.read_text())]
        rows = [{"id": f"T-{number:05d}", "text": texts[number % len(texts)]} for number in range(ROWS)]
        path = ObjectStoragePath(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return file

    score = BasetenBatchPredictGroup(
        "score",
        num_shards=4,
        model_id=MODEL_ID,
        input_path=export_tickets(f"{FOLDER}/{RUN}/tickets.jsonl"),
        output_path=f"{FOLDER}/{RUN}/languages",
        model_input="text",
        rows_per_request=50,
        join_inputs=lambda texts: {"text": texts},
        keep_columns=["id"],
        retries=2,
    )

    @task
    def count_parts(manifest: dict[str, Any]) -> str:
        return f"{manifest['succeeded']} rows in {len(manifest['parts'])} files of {manifest['num_shards']} shards"

    count_parts(score.output)


sharded_scoring()
