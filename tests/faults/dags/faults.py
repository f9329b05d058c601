"""One task for each way to wait. It notes its processes, and stops in its first try where the run's conf says so."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import DAG, get_current_context

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.management.promotion import BasetenPromoteDeploymentOperator
from airflow_provider_baseten.operators.management.training_job import BasetenTrainingJobOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

PAUSE_SECONDS = 120


def arrive(context: Any, point: str) -> None:
    """Note that the task is here, and stay if it shall."""
    conf, try_number = context["dag_run"].conf, context["ti"].try_number
    note = Path(conf["notes"], f"{try_number}-{point}")
    note.with_suffix(".part").write_text(json.dumps({"task": os.getpid(), "supervisor": os.getppid()}))
    note.with_suffix(".part").rename(note)
    deadline = time.monotonic() + PAUSE_SECONDS
    while conf["pause_at"] == point and try_number == 1 and time.monotonic() < deadline:
        time.sleep(0.05)


def started(context: Any) -> None:
    arrive(context, "start")


def finished(context: Any, result: Any) -> None:
    arrive(context, "end")


class StopsBeforeDeferral:
    """Mixed into an operator, so that a test can catch it when the request is sent and noted."""

    def defer(self, **kwargs: Any) -> NoReturn:
        arrive(get_current_context(), "defer")
        super().defer(**kwargs)


class AsyncPredict(StopsBeforeDeferral, BasetenAsyncPredictOperator):
    pass


class Predict(StopsBeforeDeferral, BasetenPredictOperator):
    pass


class Train(StopsBeforeDeferral, BasetenTrainingJobOperator):
    pass


class Promote(StopsBeforeDeferral, BasetenPromoteDeploymentOperator):
    pass


PREDICT: dict[str, Any] = {
    "task_id": "predict",
    "model_id": "{{ dag_run.conf.model }}",
    "model_input": {"question": "{{ dag_run.conf.question }}"},
    "baseten_conn_id": "{{ dag_run.conf.connection }}",
}
TRAIN: dict[str, Any] = {
    "task_id": "train",
    "project_id": "{{ dag_run.conf.project_id }}",
    "training_job": {
        "image": {"base_image": "python:3.11"},
        "runtime": {"start_commands": ["{{ dag_run.conf.command }}"]},
    },
    "poll_interval": 1,
    "retries": 4,
}
PROMOTE: dict[str, Any] = {
    "task_id": "promote",
    "model_id": "{{ dag_run.conf.model }}",
    "deployment_id": "{{ dag_run.conf.deployment }}",
    "poll_interval": 1,
    "retries": 4,
}
DEFERRED: dict[str, Any] = {"deferrable": True}
BLOCKING: dict[str, Any] = {"deferrable": False}
REDEPLOYED: dict[str, Any] = {"promotion_settings_override": {"redeploy_on_promotion": True}}
CANCELED: dict[str, Any] = {"cancel_on_kill": True}

VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "deferred": (AsyncPredict, PREDICT | DEFERRED | {"poll_interval": 1}),
    "blocking": (AsyncPredict, PREDICT | BLOCKING | {"poll_interval": 1}),
    "fail_orphaned": (AsyncPredict, PREDICT | DEFERRED | {"poll_interval": 1, "on_orphaned_request": "fail"}),
    "impatient": (AsyncPredict, PREDICT | DEFERRED | {"poll_interval": 1, "timeout": 30, "retries": 1}),
    "from_triggerer": (Predict, PREDICT | DEFERRED),
    "from_triggerer_once": (Predict, PREDICT | DEFERRED | {"on_orphaned_request": "fail"}),
    "train_deferred": (Train, TRAIN | DEFERRED),
    "train_blocking": (Train, TRAIN | BLOCKING),
    "promote_deferred": (Promote, PROMOTE | DEFERRED),
    "promote_blocking": (Promote, PROMOTE | BLOCKING),
    "promote_redeployed": (Promote, PROMOTE | DEFERRED | REDEPLOYED),
    "promote_canceled_deferred": (Promote, PROMOTE | DEFERRED | CANCELED),
    "promote_canceled_blocking": (Promote, PROMOTE | BLOCKING | CANCELED),
}

for name, (operator, options) in VARIANTS.items():
    with DAG(dag_id=name, schedule=None) as dag:
        operator(retry_delay=timedelta(0), pre_execute=started, post_execute=finished, **({"retries": 2} | options))
    globals()[name] = dag

with DAG(dag_id="lost_ids", schedule=None) as lost_ids:
    BasetenAsyncRequestSensor(
        task_id="predict",
        model_id="{{ dag_run.conf.model }}",
        request_ids=["lost-1", "lost-2"],
        mode="reschedule",
        # Airflow fails a task that is due again before its scheduler has seen the end of the poke before.
        poke_interval=10,
        timeout=600,
        pre_execute=started,
    )
