"""A DAG that calls an emulator: `python smoke_dag.py` in the DAG folder of an Airflow with this package."""

import json
import os
import sys
from typing import Any

import airflow
import pendulum
from airflow.sdk import dag, task

import airflow_provider_baseten
from airflow_provider_baseten import BasetenPredictOperator

API_KEY = "smoke.key-of-the-emulator"


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def baseten_smoke() -> None:
    """Call a model and compare its output."""
    length = BasetenPredictOperator(task_id="length", model_id="abcd1234", model_input={"text": "Wo ist mein Paket?"})

    @task
    def compare(output: Any) -> None:
        if output != {"characters": 18}:
            raise ValueError(f"unexpected output: {output}")

    compare(length.output)


smoke = baseten_smoke()


def main() -> int:
    """Run the DAG against an emulator; the exit status is 0 if the run succeeded."""
    from airflow_provider_baseten.emulator import Emulator

    models = {"abcd1234": lambda model_input: {"characters": len(model_input["text"])}}
    with Emulator(models=models, api_key=API_KEY) as baseten:
        connection = {"conn_type": "baseten", "host": baseten.url, "password": API_KEY}
        os.environ["AIRFLOW_CONN_BASETEN_DEFAULT"] = json.dumps(connection)
        run = smoke.test()
    print(f"Airflow {airflow.__version__}, {airflow_provider_baseten.__file__}: {run.state}")
    return 0 if run.state == "success" and len(baseten.requests) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
