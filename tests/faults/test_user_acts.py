"""What a user does to a task: a clear sends again, a failure cancels, and nobody else does either."""

from tests.faults.scenario import ANSWER, TASK, Scenario


def test_clear_of_a_deferred_task(scenario: Scenario) -> None:
    scenario.start("deferred")
    scenario.wait_until_deferred()
    scenario.run.clear(TASK)
    scenario.wait_for_accepted(2)
    scenario.wait_for_state("deferred")
    assert scenario.statuses == ["CANCELED", "QUEUED"]
    scenario.release()
    scenario.finish()
    assert (scenario.posts, scenario.model_runs, scenario.statuses) == (2, 1, ["CANCELED", "SUCCEEDED"])
    assert scenario.output == ANSWER
