"""What a user sees of a task that called a model: its link, and how often it was tried."""

from urllib.parse import quote

import requests

from airflow_provider_baseten.emulator import Emulator, Fault
from tests.demo.conftest import API_KEY
from tools.airflow_api import DagRun, wait_until
from tools.airflow_stack import AirflowStack


def started(airflow: AirflowStack, dag_id: str) -> DagRun:
    airflow.api.wait_for_dag(dag_id)
    return airflow.api.run(dag_id)


def links(run: DagRun, task_id: str) -> dict[str, str | None]:
    answer = run.api.call("GET", f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/links")
    return answer["extra_links"]


def test_the_link_is_there_while_the_task_is_deferred_and_after(airflow: AirflowStack, baseten: Emulator) -> None:
    baseten.hold("langid01")
    try:
        run = started(airflow, "called_waits")
        wait_until(lambda: run.states() == {"deferred": "deferred"}, 120, "the task to be deferred")
        while_deferred = links(run, "deferred")
    finally:
        baseten.release("langid01")
    assert run.wait() == "success", run.log(run.task_instances()[0])
    progress = f"{airflow.api.base_url}/baseten/ui/task?dag_id=called_waits&run_id={quote(run.run_id)}"
    assert while_deferred == links(run, "deferred")
    assert while_deferred == {
        "Baseten": f"{baseten.url}/v1/models/langid01",
        "Progress": f"{progress}&task_id=deferred&map_index=-1",
    }
    page = requests.get(while_deferred["Baseten"] or "", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=10)
    assert page.json()["id"] == "langid01"


def test_a_refused_key_ends_the_first_try(airflow: AirflowStack) -> None:
    run = started(airflow, "called_in_vain")
    assert run.wait() == "failed"
    assert {task.label: task.try_number for task in run.task_instances()} == {
        "plain": 1,
        "mapped[0]": 1,
        "mapped[1]": 1,
    }


def test_a_busy_server_is_called_again_when_it_says(airflow: AirflowStack, baseten: Emulator) -> None:
    # The hook itself tries eight times; the last answer makes the task wait.
    baseten.inject(*[Fault(target="langid01", status=429, headers={"Retry-After": "0"})] * 7)
    baseten.inject(Fault(target="langid01", status=429, headers={"Retry-After": "4"}))
    run = started(airflow, "called_too_soon")
    assert run.wait() == "success"
    assert [task.try_number for task in run.task_instances()] == [2]
    before, after = baseten.requests[-2:]
    assert 4 <= after.received_at - before.received_at < 60
