"""Run of an example DAG with a model in this process: `python example_dag.py` in the folder of `route_tickets.py`."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from airflow_provider_baseten.emulator import Emulator

API_KEY = "smoke.key-of-the-emulator"


def main() -> int:
    """Run the DAG; the exit status is 0 if the run succeeded and called the model once for each ticket."""
    sys.path.insert(0, str(Path.cwd()))
    example = import_module("route_tickets")
    models = {example.MODEL_ID: lambda ticket: {"language": "de", "probability": 0.9}}
    with Emulator(models=models, api_key=API_KEY) as baseten:
        connection = {"conn_type": "baseten", "host": baseten.url, "password": API_KEY}
        os.environ["AIRFLOW_CONN_BASETEN_DEFAULT"] = json.dumps(connection)
        run = example.route_tickets().test()
    print(f"{example.__file__}: {run.state}")
    tickets = json.loads(example.TICKETS.read_text())
    return 0 if run.state == "success" and len(baseten.requests) == len(tickets) else 1


if __name__ == "__main__":
    sys.exit(main())
