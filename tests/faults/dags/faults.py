"""One task for each way to wait. It notes its processes, and stops in its first try where the run's conf says so."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import DAG, get_current_context

from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
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


VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "deferred": (AsyncPredict, {"deferrable": True, "poll_interval": 1}),
    "blocking": (AsyncPredict, {"deferrable": False, "poll_interval": 1}),
    "fail_orphaned": (AsyncPredict, {"deferrable": True, "poll_interval": 1, "on_orphaned_request": "fail"}),
    "impatient": (AsyncPredict, {"deferrable": True, "poll_interval": 1, "timeout": 30, "retries": 1}),
    "from_triggerer": (Predict, {"deferrable": True}),
    "from_triggerer_once": (Predict, {"deferrable": True, "on_orphaned_request": "fail"}),
}

for name, (operator, options) in VARIANTS.items():
    with DAG(dag_id=name, schedule=None) as dag:
        operator(
            task_id="predict",
            model_id="{{ dag_run.conf.model }}",
            model_input={"question": "{{ dag_run.conf.question }}"},
            baseten_conn_id="{{ dag_run.conf.connection }}",
            retry_delay=timedelta(0),
            pre_execute=started,
            post_execute=finished,
            **({"retries": 2} | options),
        )
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
