"""Every night, identify the languages of the day's tickets: from a folder of Parquet files into another one.

One task processes 10,000 rows. It writes outputs while it runs, so that a retry continues where a dead worker stopped.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import Asset, ObjectStoragePath, dag, task

from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator

MODEL_ID = "langid01"
TICKETS = Path(__file__).parent / "data" / "tickets.json"
ROWS = 10_000
ROWS_PER_FILE = 2_500
# Any storage that all workers reach, for example s3://conn@bucket/tickets.
FOLDER = (Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "nightly_scoring").as_uri()
DAY = "{{ dag_run.run_after | ds }}"


@dag(
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def nightly_scoring() -> None:
    @task(outlets=[Asset("tickets")])
    def export_tickets(folder: str) -> str:
        """Write made-up tickets, in place of a job that exports those of a day."""
        import pyarrow
        from pyarrow import parquet

        texts = [ticket["text"] for ticket in json.loads(TICKETS.read_text())]
        path = ObjectStoragePath(folder)
        path.mkdir(parents=True, exist_ok=True)
        for first in range(0, ROWS, ROWS_PER_FILE):
            rows = [
                {"id": f"T-{number:05d}", "text": texts[number % len(texts)]}
                for number in range(first, first + ROWS_PER_FILE)
            ]
            with (path / f"{first:05d}.parquet").open("wb") as file:
                parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        return folder

    score = BasetenBatchPredictOperator(
        task_id="score",
        model_id=MODEL_ID,
        input_path=export_tickets(f"{FOLDER}/tickets/{DAY}"),
        output_path=f"{FOLDER}/languages/{DAY}",
        output_format="parquet",
        id_column="id",
        max_failure_ratio=0.01,
        overwrite=True,
    )

    @task
    def count_languages(manifest: dict[str, Any]) -> dict[str, int]:
        from pyarrow import parquet

        counts: Counter[str] = Counter()
        for uri in manifest["parts"]:
            with ObjectStoragePath(uri).open("rb") as file:
                outputs = parquet.read_table(file, columns=["output"])["output"].to_pylist()
            counts.update(json.loads(output)["language"] for output in outputs)
        return dict(counts)

    count_languages(score.output)


nightly_scoring()
