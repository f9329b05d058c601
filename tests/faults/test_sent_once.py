"""What was sent is known as what it is: of this very run, by which trigger, and usable or not."""

import re
import signal
from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster
from tests.faults.scenario import ANSWER, TASK, Scenario

NewScenario = Callable[[], Scenario]


@pytest.fixture(scope="module", autouse=True)
def lost(new_scenario: NewScenario, cluster: Cluster) -> Scenario:
    """A sensor that waits for requests that Baseten does not know; it takes a minute, so it begins before all else."""
    cluster.wait_until_healthy()
    return new_scenario().start("lost_ids")


class TestRunMadeAgain:
    def test_gets_its_own_output(self, new_scenario: NewScenario) -> None:
        scenarios = {dag_id: new_scenario().start(dag_id) for dag_id in ("deferred", "blocking", "from_triggerer")}
        for scenario in scenarios.values():
            scenario.release()
        for scenario in scenarios.values():
            scenario.finish()
            scenario.delete_run()
            scenario.make_run_again()
        for dag_id, scenario in scenarios.items():
            scenario.finish()
            assert scenario.output == ANSWER
            action = "predict" if dag_id == "from_triggerer" else "async_predict"
            assert scenario.requests(action) == 2, scenario.log()
        for dag_id in ("deferred", "blocking"):
            scenario = scenarios[dag_id]
            scenario.check_counts(2, 2, ["SUCCEEDED", "SUCCEEDED"])
            assert scenario.run.xcom(TASK, "request_id") == scenario.accepted[1].request_id

    @pytest.mark.parametrize("dag_id", ["deferred", "blocking"])
    def test_request_of_the_deleted_one_is_cancelled(self, new_scenario: NewScenario, dag_id: str) -> None:
        scenario = new_scenario().start(dag_id)
        scenario.wait_until_watched()
        scenario.delete_run()
        scenario.wait_until_known(lambda: scenario.statuses == ["CANCELED"], "the request to be cancelled")

    def test_request_of_the_deleted_one_is_replaced(self, new_scenario: NewScenario) -> None:
        scenario = new_scenario().start("deferred")
        scenario.wait_until_deferred()
        scenario.delete_run()
        scenario.make_run_again()
        scenario.wait_for_accepted(2)
        scenario.wait_until(lambda: scenario.statuses[0] == "CANCELED", "the first request to be cancelled")
        scenario.release()
        scenario.finish()
        scenario.check_counts(2, 1, ["CANCELED", "SUCCEEDED"])
        assert scenario.output == ANSWER


def test_unusable_answer_to_a_deferred_predict_is_not_kept(new_scenario: NewScenario) -> None:
    portal, cut = new_scenario(), new_scenario()
    portal.inject("predict", status=200, body="<html>Log in</html>", headers={"Content-Type": "text/html"})
    cut.inject("predict", status=200, body='{"answer": "WH', headers={"Content-Type": "application/json"})
    for scenario in (portal, cut):
        scenario.start("from_triggerer")
    for scenario in (portal, cut):
        assert scenario.finish().try_number == 2
        assert "BasetenResponseError" in scenario.log(1)
        assert scenario.requests("predict") == 2
        assert scenario.output == ANSWER


def test_both_triggers_are_named_when_a_stopped_triggerer_goes_on(new_scenario: NewScenario, cluster: Cluster) -> None:
    cluster.wait_until_healthy()
    scenario = new_scenario()
    scenario.gate.close()
    scenario.start("from_triggerer")
    scenario.wait_until(lambda: scenario.requests("predict") == 1, "the predict")
    scenario.wait_for_state("deferred")
    with cluster.stopped("triggerer"):
        cluster.start("triggerer", number=2)
        scenario.wait_until(lambda: scenario.requests("predict") == 2, "the second triggerer to send it")
    scenario.gate.open()
    assert scenario.finish().try_number == 1
    assert scenario.output == ANSWER
    assert scenario.requests("predict") == 2
    found = re.search(r"Trigger (\w{32}) no longer waits for .* trigger (\w{32}) is", scenario.trigger_logs())
    assert found is not None, scenario.trigger_logs()
    assert found[1] != found[2]
    cluster.end("triggerer", signal.SIGKILL, number=2)


def test_id_counts_that_only_the_result_store_has(new_scenario: NewScenario, cluster: Cluster) -> None:
    """The worker dies while Airflow does not take the id."""
    cluster.wait_until_healthy()
    scenario = new_scenario()
    scenario.inject("async_predict", delay=3)
    scenario.start("blocking")
    scenario.wait_until(lambda: scenario.posts == 1, "the POST")
    ledger = cluster.home / "results" / "ledger"
    with cluster.stopped("api-server"):
        scenario.wait_until_known(
            lambda: (
                bool(scenario.accepted)
                and any(scenario.accepted[0].request_id in file.read_text() for file in ledger.iterdir())
            ),
            "the record of the id",
        )
        scenario.kill_worker()
    scenario.wait_for_note("start", 2)
    scenario.release()
    assert scenario.finish().try_number == 2
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER


def test_sensor_of_lost_requests_fails_without_holding_a_worker(lost: Scenario) -> None:
    lost.finish("failed")
    assert "BasetenResultLostError" in lost.log()
    # Every poke was a process of its own, with one call for each of the two.
    assert 10 <= lost.requests("async_request") <= 60
