"""A request is sent once, whichever of Airflow's processes dies while it is waited for."""

import signal
from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster
from tests.faults.management_scenarios import PromotionScenario, TrainingScenario
from tests.faults.scenario import ANSWER, Scenario

NewScenario = Callable[[], Scenario]
NewTraining = Callable[[], TrainingScenario]
NewPromotion = Callable[[], PromotionScenario]
Managed = tuple[TrainingScenario, PromotionScenario]


class TestTriggererKilled:
    @pytest.fixture(scope="class")
    @classmethod
    def managed(cls, new_training: NewTraining, new_promotion: NewPromotion) -> Managed:
        """A training job and a promotion that the triggerer waits for when it dies."""
        managed = new_training().start("train_deferred"), new_promotion().start("promote_redeployed")
        for scenario in managed:
            scenario.wait_for_state("deferred")
            scenario.wait_until_watched()
        return managed

    @pytest.fixture(scope="class")
    @classmethod
    def survivors(cls, managed: Managed, new_scenario: NewScenario, cluster: Cluster) -> dict[str, Scenario]:
        cluster.wait_until_healthy()
        started = {dag_id: new_scenario() for dag_id in ("deferred", "from_triggerer", "from_triggerer_once")}
        for dag_id, scenario in started.items():
            scenario.gate.close()
            scenario.start(dag_id)
        started["deferred"].wait_until_deferred()
        for dag_id in ("from_triggerer", "from_triggerer_once"):
            scenario = started[dag_id]
            scenario.wait_until(lambda scenario=scenario: scenario.requests("predict") == 1, "the predict")
            scenario.wait_for_state("deferred")
        cluster.end("triggerer", signal.SIGKILL)
        for scenario in started.values():
            scenario.release()
            scenario.gate.open()
        cluster.start("triggerer")
        return started

    def test_the_next_one_waits_for_the_same_request(self, survivors: dict[str, Scenario]) -> None:
        scenario = survivors["deferred"]
        assert scenario.finish().try_number == 1
        scenario.check_counts(1, 1, ["SUCCEEDED"])
        assert scenario.output == ANSWER

    def test_the_next_one_waits_for_the_same_job_and_promotion(self, survivors: object, managed: Managed) -> None:
        training, promotion = managed
        for scenario in managed:
            scenario.release()
            assert scenario.finish().try_number == 1
        training.check(1, "COMPLETED")
        promotion.check(1, new_deployments=1)

    def test_the_next_one_sends_a_predict_again(self, survivors: dict[str, Scenario]) -> None:
        scenario = survivors["from_triggerer"]
        assert scenario.finish().try_number == 1
        assert scenario.requests("predict") == 2
        assert scenario.output == ANSWER

    def test_the_next_one_does_not_send_a_predict_again_by_the_policy(self, survivors: dict[str, Scenario]) -> None:
        scenario = survivors["from_triggerer_once"]
        scenario.finish("failed")
        assert "BasetenOrphanedRequestError" in scenario.log(1)
        assert scenario.requests("predict") == 1
        assert scenario.output is None


def test_triggerer_paused_while_another_takes_over(
    new_scenario: NewScenario, new_training: NewTraining, cluster: Cluster
) -> None:
    cluster.wait_until_healthy()
    training = new_training().start("train_deferred")
    training.wait_for_state("deferred")
    training.wait_until_watched()
    scenario = new_scenario().start("deferred")
    scenario.wait_until_deferred()
    with cluster.stopped("triggerer"):
        asked = scenario.requests("async_request", "GET")
        cluster.start("triggerer", number=2)
        scenario.wait_until(lambda: scenario.requests("async_request", "GET") > asked, "the second triggerer to ask")
    scenario.wait_until(
        lambda: "invoking on_kill" in scenario.trigger_logs(), "the first triggerer to lose its trigger"
    )
    training.wait_until(lambda: "Nothing is cancelled" in training.trigger_logs(), "the job to be left as it is")
    assert training.statuses == ["RUNNING"]
    training.release()
    asked = scenario.requests("async_request", "GET")
    scenario.wait_until(lambda: scenario.requests("async_request", "GET") > asked + 1, "more status calls")
    assert (scenario.requests("async_request", "DELETE"), scenario.statuses) == (0, ["QUEUED"])
    scenario.release()
    assert scenario.finish().try_number == 1
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER
    assert training.finish().try_number == 1
    training.check(1, "COMPLETED")
    cluster.end("triggerer", signal.SIGKILL, number=2)


class TestSchedulerKilled:
    @pytest.fixture(scope="class")
    @classmethod
    def managed(cls, new_training: NewTraining, new_promotion: NewPromotion) -> Managed:
        """A training job and a promotion that workers wait for when they die."""
        managed = new_training().start("train_blocking"), new_promotion().start("promote_blocking")
        for scenario in managed:
            scenario.wait_until_watched()
        return managed

    @pytest.fixture(scope="class")
    @classmethod
    def survivors(cls, managed: Managed, new_scenario: NewScenario, cluster: Cluster) -> dict[str, Scenario]:
        """Its workers die with it."""
        cluster.wait_until_healthy()
        started = {dag_id: new_scenario().start(dag_id) for dag_id in ("deferred", "blocking")}
        started["deferred"].wait_until_deferred()
        started["blocking"].wait_until_watched()
        cluster.end("scheduler", signal.SIGKILL)
        for scenario in started.values():
            scenario.release()
        cluster.start("scheduler")
        return started

    def test_a_deferred_task_goes_on(self, survivors: dict[str, Scenario]) -> None:
        scenario = survivors["deferred"]
        assert scenario.finish().try_number == 1
        scenario.check_counts(1, 1, ["SUCCEEDED"])
        assert scenario.output == ANSWER

    def test_a_task_that_was_running_is_attached_to_its_request(self, survivors: dict[str, Scenario]) -> None:
        scenario = survivors["blocking"]
        assert scenario.finish().try_number == 2
        scenario.check_counts(1, 1, ["SUCCEEDED"])
        assert scenario.output == ANSWER

    def test_a_task_that_was_running_has_its_job_and_its_promotion(self, survivors: object, managed: Managed) -> None:
        training, promotion = managed
        for scenario in managed:
            scenario.wait_for_retry()
            scenario.release()
            assert scenario.finish().try_number >= 2
        training.check(1, "COMPLETED")
        promotion.check(1)
