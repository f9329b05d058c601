"""Retrain a model, deploy the new weights beside the model in production, compare both, and promote the better one.

Production serves a general model at first. Two more deployments of the model, *blue* and *green*, are
`models/ticket_languages` with a file of weights each, which they read when they start: while one of them is in
production, the other one gets the new weights and is tried out. Let all of them scale to zero.
"""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import ObjectStoragePath, dag, task

from airflow_provider_baseten import (
    BasetenActivateDeploymentOperator,
    BasetenDeactivateDeploymentOperator,
    BasetenHook,
    BasetenPredictOperator,
    BasetenPromoteDeploymentOperator,
    BasetenTrainingJobOperator,
)

MODEL_ID = "langid04"
BLUE, GREEN = "langid04blue", "langid04green"
HERE = Path(__file__).parent
TICKETS = HERE / "data" / "answered_tickets.json"
SCRIPT = HERE / "models" / "ticket_languages" / "train.py"
# Any storage that Airflow and the model both reach, for example s3://conn@bucket/ticket_languages.
FOLDER = (Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "ticket_languages").as_uri()
WEIGHTS = {BLUE: f"{FOLDER}/blue", GREEN: f"{FOLDER}/green"}


@dag(
    schedule="@monthly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # Two runs would try out the same deployment.
    max_active_runs=1,
    doc_md=__doc__,
    tags=["baseten", "example"],
)
def retrain() -> None:
    @task(multiple_outputs=True)
    def split_tickets() -> dict[str, Any]:
        """Hold every fifth ticket out of the training."""
        tickets = list(enumerate(json.loads(TICKETS.read_text())))
        held_out = [ticket for number, ticket in tickets if number % 5 == 2]
        return {
            "training": json.dumps([ticket for number, ticket in tickets if number % 5 != 2]),
            "texts": [ticket["text"] for ticket in held_out],
            "languages": [ticket["language"] for ticket in held_out],
        }

    @task
    def choose_candidate() -> str:
        """Return the deployment that is not in production."""
        with BasetenHook().client() as client:
            current = client.management.get_environment(MODEL_ID, "production").current_deployment
        return GREEN if current and current.id == BLUE else BLUE

    @task
    def copy_weights(job: dict[str, Any], deployment_id: str) -> None:
        """Copy the files that the job has written to where the deployment reads them."""
        import requests

        with BasetenHook().client() as client:
            files = client.management.list_checkpoint_files(job["training_project_id"], job["training_job_id"])
        for file in files.presigned_urls:
            response = requests.get(file.url, timeout=60)
            response.raise_for_status()
            path = ObjectStoragePath(f"{WEIGHTS[deployment_id]}/{file.relative_file_name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(response.content)

    @task
    def evaluate(languages: list[str], general: list[dict[str, Any]], trained: list[dict[str, Any]]) -> dict[str, int]:
        """Count the right answers."""

        def count(answers: list[dict[str, Any]]) -> int:
            return sum(answer["language"] == right for answer, right in zip(answers, languages, strict=True))

        return {"tickets": len(languages), "production": count(general), "candidate": count(trained)}

    @task.branch
    def decide(right: dict[str, int]) -> str:
        return "promote" if right["candidate"] > right["production"] else "reject"

    tickets = split_tickets()
    candidate = choose_candidate()
    of_candidate: dict[str, Any] = {"model_id": MODEL_ID, "deployment_id": candidate}
    train = BasetenTrainingJobOperator(
        task_id="train",
        project="ticket-languages",
        training_job={
            "image": {"base_image": "python:3.11"},
            "compute": {"cpu_count": 1, "memory": "2Gi"},
            "runtime": {
                "start_commands": [shlex.join(["python", "-c", SCRIPT.read_text()])],
                "environment_variables": {"TICKETS": tickets["training"]},
                "checkpointing_config": {"enabled": True},
            },
        },
        deferrable=True,
        # A retry waits for the same job.
        retries=2,
        retry_delay=pendulum.duration(seconds=5),
    )
    stop = BasetenDeactivateDeploymentOperator(task_id="stop_candidate", **of_candidate)
    start = BasetenActivateDeploymentOperator(task_id="start_candidate", **of_candidate)
    model_input = {"text": tickets["texts"]}
    production = BasetenPredictOperator(task_id="ask_production", model_id=MODEL_ID, model_input=model_input)
    trial = BasetenPredictOperator(task_id="ask_candidate", model_input=model_input, **of_candidate)
    promote = BasetenPromoteDeploymentOperator(task_id="promote", **of_candidate)
    reject = BasetenDeactivateDeploymentOperator(task_id="reject", **of_candidate)

    [copy_weights(train.output, candidate), stop] >> start >> trial
    decide(evaluate(tickets["languages"], production.output, trial.output)) >> [promote, reject]


retrain()
