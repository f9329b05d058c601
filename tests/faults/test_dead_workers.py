"""Workers that die at every moment of a task's life. All die at once, each of another run."""

import signal
from collections.abc import Callable

import pytest

from tests.faults.scenario import ANSWER, Scenario

NewScenario = Callable[[], Scenario]


@pytest.fixture(scope="module")
def dead(new_scenario: NewScenario) -> dict[str, Scenario]:
    """Runs whose worker has died, by the moment of its death; nothing is released before the last one is dead."""
    started = {
        "before": new_scenario().start("deferred", pause_at="start"),
        "sending": _withheld(new_scenario(), delay=60).start("deferred"),
        "accepted": _withheld(new_scenario(), after_webhook=True).start("deferred"),
        "accepted, policy fail": _withheld(new_scenario(), after_webhook=True).start("fail_orphaned"),
        "noted": new_scenario().start("deferred", pause_at="defer"),
        "waiting": new_scenario().start("blocking"),
        "out of memory": new_scenario().start("blocking"),
        "running": new_scenario().start("blocking"),
        "completed": new_scenario().start("deferred", pause_at="end"),
        "completed, blocking": new_scenario().start("blocking", pause_at="end"),
    }
    for moment in ("completed", "completed, blocking"):
        started[moment].release()
    started["before"].kill_worker("start")
    started["noted"].kill_worker("defer")
    _kill_once(started["sending"], lambda scenario: scenario.posts == 1)
    for moment in ("accepted", "accepted, policy fail"):
        _kill_once(started[moment], lambda scenario: len(scenario.accepted) == 1)
    started["waiting"].wait_until_watched()
    started["waiting"].kill_worker()
    started["out of memory"].wait_until_watched()
    started["out of memory"].send_signal("task", signal.SIGKILL)
    started["running"].wait_until_watched()
    started["running"].run_model()
    started["running"].kill_worker()
    for moment in ("completed", "completed, blocking"):
        started[moment].kill_worker("end")
    for moment, scenario in started.items():
        if moment not in {"accepted, policy fail"}:
            scenario.wait_for_note("start", 2)
        scenario.gate.open()
        scenario.release()
    return started


def _withheld(scenario: Scenario, **fault: object) -> Scenario:
    """Let the emulator keep the answer to the submission to itself."""
    scenario.inject("async_predict", **fault)
    return scenario


def _kill_once(scenario: Scenario, holds: Callable[[Scenario], bool]) -> None:
    scenario.wait_until(lambda: holds(scenario), "the POST")
    scenario.kill_worker()


@pytest.mark.parametrize(
    "moment", ["before", "noted", "waiting", "out of memory", "running", "completed", "completed, blocking"]
)
def test_the_next_try_has_the_output_of_the_one_request(dead: dict[str, Scenario], moment: str) -> None:
    scenario = dead[moment]
    assert scenario.finish().try_number == 2
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER


def test_a_request_that_nobody_accepted_is_sent_again(dead: dict[str, Scenario]) -> None:
    scenario = dead["sending"]
    assert scenario.finish().try_number == 2
    scenario.check_counts(2, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER


def test_a_request_without_an_id_is_sent_again_with_a_warning(dead: dict[str, Scenario]) -> None:
    scenario = dead["accepted"]
    assert scenario.finish().try_number == 2
    scenario.check_counts(2, 2, ["SUCCEEDED", "SUCCEEDED"])
    assert scenario.output == ANSWER
    assert scenario.run.xcom("predict", "request_id") == scenario.accepted[1].request_id
    assert "died while it sent its request" in scenario.log()


def test_a_request_without_an_id_is_not_sent_again_by_the_policy(dead: dict[str, Scenario]) -> None:
    scenario = dead["accepted, policy fail"]
    scenario.finish("failed")
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output is None
    assert "BasetenOrphanedRequestError" in scenario.log()
