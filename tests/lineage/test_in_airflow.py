"""Lineage of real runs: every value in the events of OpenLineage, the counts in asset events, and webhooks that start
DAGs.
"""

import json
import signal
from importlib.resources import files
from importlib.util import find_spec

import jsonschema
import pytest

from tests.lineage.conftest import OUTPUT, ROWS, Airflow
from tools.airflow_api import DagRun, wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.processes, pytest.mark.timeout(600)]

TOTAL = sum(ROWS.values())
FAILED = sum(number > 1 for number in ROWS.values())  # The row with the number 1 of each file.


@pytest.fixture(scope="module")
def run(airflow: Airflow) -> DagRun:
    if find_spec("openlineage") is None:
        pytest.skip("OpenLineage is not installed")
    run = airflow.cluster.api.run("lineage")
    assert run.wait(300) == "failed"
    failed = {task for task, state in run.states().items() if state != "success"}
    assert failed == {"fails", "badly_named"}
    return run


def ended(airflow, task, kind="COMPLETE"):
    return airflow.last_event(f"lineage.{task}", kind)


def datasets(event, side):
    return [(dataset["namespace"], dataset["name"]) for dataset in event[side]]


def facet(event):
    found = event["run"]["facets"]["baseten"]
    return {name: value for name, value in found.items() if not name.startswith("_")}


def test_bulk_job(airflow, run):
    for kind in ("START", "COMPLETE"):
        event = ended(airflow, "bulk", kind)
        assert datasets(event, "inputs")[-1] == ("baseten://model", "score")
        assert datasets(event, "outputs") == [("file", f"{airflow.folder}/scores")]
    assert datasets(ended(airflow, "bulk", "START"), "inputs")[0] == ("file", f"{airflow.folder}/rows")
    event = ended(airflow, "bulk")
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == TOTAL - FAILED
    manifest = run.xcom("bulk")
    assert facet(event) == {
        "version": "1",
        "connection": "baseten_default",
        "target": "model score (environment production)",
        "requestIds": [],
        "requests": manifest["sent"],
        "rows": TOTAL,
        "succeeded": TOTAL - FAILED,
        "failed": FAILED,
        "tokens": {},
    }


def test_bulk_job_of_a_chat_model(airflow, run):
    event = ended(airflow, "bulk_chat")
    found = facet(event)
    assert (found["model"], found["requests"], found["rows"]) == ("tiny", 3, 3)
    assert found["tokens"] == {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    # What the task has sent is what its author gave, although the events show a placeholder.
    assert event["run"]["facets"]["airflow"]["task"]["parameters"] == "(dict, not shown)"
    assert [body["user"] for body in airflow.chat.bodies if "user" in body] == ["private-input"] * 3


def test_predict(airflow, run):
    event = ended(airflow, "predict")
    assert datasets(event, "inputs") == [("baseten://model", "echo/environment/development")]
    found = facet(event)
    assert found["requestIds"] == [run.xcom("predict", "request_id")]
    assert (found["requests"], found["target"]) == (1, "model echo (environment development)")
    assert datasets(event, "outputs") == [("file", run.xcom("predict")["uri"])]


def test_chat_with_tokens(airflow, run):
    event = ended(airflow, "chat")
    found, usage = facet(event), run.xcom("chat", "usage")
    assert (found["model"], found["tokens"]["prompt_tokens"]) == ("tiny", usage["prompt_tokens"])
    assert found["tokens"]["completion_tokens"] == usage["completion_tokens"] == 4
    assert found["requestIds"] == [run.xcom("chat", "request_id")]


@pytest.mark.parametrize("task", ["waiting", "deferred"])
def test_async_request(airflow, run, task):
    event = ended(airflow, task)
    assert datasets(event, "inputs") == [("baseten://chain", "chained/deployment/chainedd1")]
    assert datasets(event, "outputs") == [("file", f"{airflow.folder}/{task}.json")]
    assert facet(event)["requestIds"] == [run.xcom(task, "request_id")]


def test_predict_in_the_triggerer(airflow, run):
    found = facet(ended(airflow, "predict_in_triggerer"))
    assert (found["requests"], found["requestIds"]) == (1, [run.xcom("predict_in_triggerer", "request_id")])


def test_sensor_and_a_task_that_does_not_wait(airflow, run):
    request_id = run.xcom("send")
    assert facet(ended(airflow, "send"))["requestIds"] == [request_id]
    event = ended(airflow, "sensor")
    assert datasets(event, "inputs") == [("baseten://model", "echo")]
    assert (facet(event)["requestIds"], facet(event)["requests"]) == ([request_id], 0)


def test_failures(airflow, run):
    event = ended(airflow, "fails", "FAIL")
    assert datasets(event, "inputs") == [("baseten://model", "broken")]
    assert facet(event) == {
        "version": "1",
        "connection": "baseten_default",
        "target": "model broken (environment production)",
        "requestIds": [],
        "tokens": {},
    }
    assert datasets(ended(airflow, "badly_named", "FAIL"), "inputs") == []


def test_hook_and_read_output_in_a_python_task(airflow, run):
    assert datasets(ended(airflow, "hook"), "inputs") == [("baseten://model", "echo/deployment/echod1")]
    assert datasets(ended(airflow, "read"), "inputs") == [("file", f"{airflow.folder}/stored.json")]


def test_facets_fit_their_schema_which_is_in_the_package(airflow, run):
    schema = json.loads(files("airflow_provider_baseten.lineage").joinpath("BasetenRunFacet.json").read_text())
    found = [event["run"]["facets"]["baseten"] for event in airflow.events() if "baseten" in event["run"]["facets"]]
    assert len(found) > 20
    for value in found:
        jsonschema.validate(value, schema)
        assert value["_schemaURL"] == schema["$id"]


def test_events_hold_no_input_and_no_output(airflow, run):
    events = [event for event in airflow.events() if event["job"]["name"].startswith("lineage.")]
    # With `include_full_task_info`, Airflow's own facet of a Python task has its arguments.
    own = json.dumps([event for event in events if event["job"]["name"] not in {"lineage.read", "lineage.hook"}])
    assert OUTPUT not in own
    assert "private-input" not in own


class TestAssetEvents:
    def test_events_have_counts_which_a_consumer_reads(self, airflow):
        api = airflow.cluster.api
        for dag_id in ("consumer", "on_model"):
            api.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        assert api.run("producer").wait(300) == "success"
        events = api.call("GET", "assets/events", params={"source_dag_id": "producer"})["asset_events"]
        extras = {event["uri"]: event["extra"] for event in events}
        counts = {
            "model": "baseten://model/score",
            "requests": TOTAL,
            "rows": TOTAL,
            "succeeded": TOTAL - FAILED,
            "failed": FAILED,
            "output": f"{airflow.folder}/produced",
        }
        assert extras["baseten://model/score"].items() >= counts.items()
        assert extras["baseten://model/score/environment/staging"].items() >= counts.items()
        scores = extras[f"file://{airflow.folder}/scores"]
        assert scores.items() >= (counts | {"rows": "set by the author"}).items()
        (consumer,) = runs_of(airflow, "consumer", 1)
        assert consumer.wait(120) == "success"
        assert consumer.xcom("consume") == [scores]
        (on_model,) = runs_of(airflow, "on_model", 1)
        assert on_model.wait(120) == "success"
        assert on_model.xcom("models") == ["baseten://model/score"]


def runs_of(airflow, dag_id, number):
    """The runs of a DAG, once there are as many as expected."""
    api = airflow.cluster.api

    def found():
        return [DagRun(api, dag_id, run["dag_run_id"]) for run in api.call("GET", f"dags/{dag_id}/dagRuns")["dag_runs"]]

    wait_until(lambda: len(found()) >= number, 120, f"{number} runs of {dag_id}")
    return found()


def results_of(airflow, dag_id, number):
    """Results that a DAG was started for, once there are as many as expected."""
    found = []

    def enough():
        taken = [run.xcom("take")["results"] for run in runs_of(airflow, dag_id, 1) if run.state() == "success"]
        found[:] = [result for results in taken for result in results]
        return len(found) >= number

    wait_until(enough, 180, f"{number} results of {dag_id}")
    return found


def request_ids(results):
    return sorted(result["request_id"] for result in results)


class TestWatchers:
    def test_each_result_starts_both_dags_once_also_after_a_restart(self, airflow):
        cluster, api = airflow.cluster, airflow.cluster.api
        for dag_id in ("on_results", "on_more_results"):
            api.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        endpoint = f"{cluster.url}/baseten/webhooks/baseten_default/events"

        def submit():
            run = api.run("submit", {"endpoint": endpoint, "text": "first"})
            assert run.wait(180) == "success"
            return run.xcom("submit")

        first = submit()
        assert request_ids(results_of(airflow, "on_results", 1)) == [first]
        notes = airflow.store / "arrivals"
        wait_until(lambda: not [*notes.rglob(first)], 60, "the note to be deleted")
        cluster.end("triggerer", signal.SIGKILL)
        second = submit()
        wait_until(lambda: bool([*notes.rglob(second)]), 60, "the second result")
        cluster.start("triggerer")
        third = submit()
        for dag_id in ("on_results", "on_more_results"):
            results = results_of(airflow, dag_id, 3)
            assert request_ids(results) == sorted([first, second, third])
            assert {(result["status"], result["output"]["answer"]) for result in results} == {("SUCCEEDED", OUTPUT)}
        wait_until(lambda: not any(path.is_file() for path in notes.rglob("*")), 60, "all notes to be deleted")
        # No result has come twice, and none is of a request that a task has waited for.
        assert request_ids(results_of(airflow, "on_results", 3)) == sorted([first, second, third])

    def test_events_of_assets_hold_no_output(self, airflow):
        events = airflow.cluster.api.call("GET", "assets/events", params={"limit": 100})["asset_events"]
        assert OUTPUT not in json.dumps(events)
