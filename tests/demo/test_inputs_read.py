"""Inputs of models in a real Airflow: what runs beside a task reads them, and the UI does not show them."""

import json
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator, RecordedRequest
from tools.airflow_api import DagRun
from tools.airflow_stack import AirflowStack

INPUT = {"text": "Wo ist mein Paket?"}
HEADERS = {"X-Tenant": "3"}


class Observed:
    """A run that has ended, what was sent meanwhile, and what read the input."""

    def __init__(self, airflow: AirflowStack, baseten: Emulator, dag_id: str) -> None:
        airflow.api.wait_for_dag(dag_id)
        seen = len(baseten.requests)
        self.run = airflow.api.run(dag_id)
        self.state = self.run.wait()
        self.requests: list[RecordedRequest] = baseten.requests[seen:]
        file = airflow.home / f"{dag_id}.jsonl"
        notes = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        self.readers = {name for name, *_ in notes}
        self.inputs = [values for _, *values in notes]


def task_instances(run: DagRun) -> list[dict[str, Any]]:
    answer = run.api.call("GET", f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")
    return sorted(answer["task_instances"], key=lambda entry: entry["map_index"])


def test_mapped_tasks_are_named_by_their_inputs_and_each_is_paid_once(airflow: AirflowStack, baseten: Emulator) -> None:
    observed = Observed(airflow, baseten, "inputs_name_tasks")
    entries = task_instances(observed.run)
    assert observed.state == "success", [observed.run.log(task) for task in observed.run.task_instances()]
    assert [entry["rendered_map_index"] for entry in entries] == ["Wo ist mein Paket?", "Where is my parcel?"]
    assert [request.status for request in observed.requests] == [200, 200]
    answers = [observed.run.xcom("mapped", map_index=index)["language"] for index in (0, 1)]
    assert answers == ["de", "en"]
    assert {entry["rendered_fields"]["model_input"] for entry in entries} == {"(dict, not shown)"}


@pytest.mark.parametrize(
    ("dag_id", "state", "readers"),
    [
        pytest.param(
            "inputs_read",
            "success",
            {
                "pre_execute",
                "on_execute_callback",
                "on_success_callback",
                "on_task_instance_running",
                "on_task_instance_success",
            },
            id="success",
        ),
        pytest.param(
            "inputs_read_after_failure",
            "failed",
            {"on_failure_callback", "on_task_instance_running", "on_task_instance_failed"},
            id="failure",
        ),
        pytest.param(
            "inputs_read_while_deferred",
            "success",
            {"on_success_callback", "on_task_instance_running", "on_task_instance_success"},
            id="deferred",
        ),
    ],
)
def test_hooks_callbacks_and_listeners_read_the_rendered_input(
    airflow: AirflowStack, baseten: Emulator, dag_id: str, state: str, readers: set[str]
) -> None:
    observed = Observed(airflow, baseten, dag_id)
    [entry] = task_instances(observed.run)
    assert observed.state == state, observed.run.log(observed.run.task_instances()[0])
    assert observed.readers == readers
    assert all(values == [INPUT, HEADERS] for values in observed.inputs), observed.inputs
    assert len(observed.requests) == 1
    assert entry["try_number"] == 1
    fields = entry["rendered_fields"]
    assert (fields["model_input"], fields["headers"]) == ("(dict, not shown)",) * 2
