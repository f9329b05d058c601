"""What users do to a task: a clear sends again, an end cancels what is still queued."""

import signal
from collections.abc import Callable

import pytest

from tests.faults.scenario import ANSWER, TASK, Scenario

NewScenario = Callable[[], Scenario]


@pytest.fixture(scope="module")
def acted(new_scenario: NewScenario) -> dict[str, Scenario]:
    """Runs that a user has interfered with, all at once, by what was done."""
    deferred = [
        "clear, deferred, queued",
        "clear, deferred, running",
        "fail, deferred, queued",
        "fail, deferred, running",
        "clear, finished",
    ]
    blocking = [
        "clear, blocking, queued",
        "clear, blocking, running",
        "fail, blocking, queued",
        "terminate, queued",
        "terminate, running",
    ]
    started = {act: new_scenario().start("deferred") for act in deferred}
    started |= {act: new_scenario().start("blocking") for act in blocking}
    started["clear, finished"].release()
    started["clear, finished"].finish()
    for act in deferred[:4]:
        started[act].wait_until_deferred()
    for act in blocking:
        started[act].wait_until_watched()
    for act, scenario in started.items():
        if act.endswith("running"):
            scenario.run_model()
    for act, scenario in started.items():
        match act.split(",")[0]:
            case "clear":
                scenario.clear()
            case "fail":
                scenario.mark_failed()
            case "terminate":
                scenario.send_signal("supervisor", signal.SIGTERM)
    return started


@pytest.mark.parametrize("mode", ["deferred", "blocking"])
def test_clear_while_queued(acted: dict[str, Scenario], mode: str) -> None:
    scenario = acted[f"clear, {mode}, queued"]
    scenario.wait_for_accepted(2)
    scenario.wait_until(lambda: scenario.statuses[0] == "CANCELED", "the first request to be cancelled")
    assert scenario.statuses == ["CANCELED", "QUEUED"]
    scenario.release()
    scenario.finish()
    scenario.check_counts(2, 1, ["CANCELED", "SUCCEEDED"])
    assert scenario.output == ANSWER
    assert scenario.run.xcom(TASK, "request_id") == scenario.accepted[1].request_id


def test_clear_of_a_running_task_while_the_model_runs(acted: dict[str, Scenario]) -> None:
    scenario = acted["clear, blocking, running"]
    scenario.gate.open()
    scenario.finish()
    # Airflow raises max_tries only if it hears of the worker's end from the executor before it misses its heartbeat.
    assert scenario.counts() in [(2, 2, ["SUCCEEDED", "SUCCEEDED"]), (1, 1, ["SUCCEEDED"])]
    assert scenario.output == ANSWER
    assert scenario.run.xcom(TASK, "request_id") == scenario.accepted[-1].request_id


def test_clear_of_a_deferred_task_while_the_model_runs(acted: dict[str, Scenario]) -> None:
    scenario = acted["clear, deferred, running"]
    scenario.wait_for_accepted(2)
    scenario.gate.open()
    scenario.finish()
    scenario.check_counts(2, 2, ["SUCCEEDED", "SUCCEEDED"])
    assert scenario.output == ANSWER
    assert scenario.run.xcom(TASK, "request_id") == scenario.accepted[1].request_id


def test_clear_of_a_finished_task(acted: dict[str, Scenario]) -> None:
    scenario = acted["clear, finished"]
    scenario.wait_for_accepted(2)
    scenario.finish()
    scenario.check_counts(2, 2, ["SUCCEEDED", "SUCCEEDED"])
    assert scenario.run.xcom(TASK, "request_id") == scenario.accepted[1].request_id
    assert scenario.output == ANSWER


@pytest.mark.parametrize("mode", ["deferred", "blocking"])
def test_failed_while_queued(acted: dict[str, Scenario], mode: str) -> None:
    scenario = acted[f"fail, {mode}, queued"]
    scenario.finish("failed")
    scenario.wait_until(lambda: scenario.statuses == ["CANCELED"], "the request to be cancelled")
    scenario.release()
    scenario.check_counts(1, 0, ["CANCELED"])
    assert scenario.output is None


def test_failed_while_the_model_runs(acted: dict[str, Scenario]) -> None:
    scenario = acted["fail, deferred, running"]
    scenario.finish("failed")
    scenario.wait_until(lambda: scenario.requests("async_request", "DELETE") == 1, "the attempt to cancel")
    scenario.gate.open()
    scenario.wait_until(lambda: scenario.statuses == ["SUCCEEDED"], "the model to end")
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output is None


def test_terminated_while_queued(acted: dict[str, Scenario]) -> None:
    scenario = acted["terminate, queued"]
    scenario.wait_until(lambda: scenario.statuses[0] == "CANCELED", "the request to be cancelled")
    scenario.release()
    assert scenario.finish().try_number == 2
    scenario.check_counts(2, 1, ["CANCELED", "SUCCEEDED"])
    assert scenario.output == ANSWER


def test_terminated_while_the_model_runs(acted: dict[str, Scenario]) -> None:
    scenario = acted["terminate, running"]
    scenario.wait_until(lambda: scenario.requests("async_request", "DELETE") == 1, "the attempt to cancel")
    scenario.gate.open()
    scenario.finish()
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER
