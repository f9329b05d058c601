"""Training jobs and promotions: one for one intent, whichever worker dies and whatever a user does. All run at once."""

import signal
from collections.abc import Callable, Mapping

import pytest

from tests.faults.management_scenarios import STUBBORN, PromotionScenario, TrainingScenario

NewTraining = Callable[[], TrainingScenario]
NewPromotion = Callable[[], PromotionScenario]

# Longer than it takes until the next try has begun.
LATE = 30


@pytest.fixture(scope="module")
def trained(new_training: NewTraining) -> dict[str, TrainingScenario]:
    """Tasks that train, by what has happened to them. No job ends before."""
    started = {
        "never created": new_training().inject(delay=20, reset=True).start("train_deferred"),
        "created late": new_training().inject(delay=LATE).start("train_deferred"),
        "before": new_training().start("train_deferred", pause_at="start"),
        "noted": new_training().start("train_deferred", pause_at="defer"),
        "completed": new_training().start("train_deferred", pause_at="end"),
        "waiting": new_training().start("train_blocking"),
        "clear, blocking": new_training().start("train_blocking"),
        "clear, deferred": new_training().start("train_deferred"),
        "fail, blocking": new_training().start("train_blocking"),
        "fail, deferred": new_training().start("train_deferred"),
        "terminate": new_training().start("train_blocking", before=STUBBORN),
    }
    _interfere(started)
    return started


@pytest.fixture(scope="module")
def promoted(trained: object, new_promotion: NewPromotion) -> dict[str, PromotionScenario]:
    """Tasks that promote, by what has happened to them. No promotion ends before.

    They start after those that train, because Airflow fails tasks that start too slowly.
    """
    started = {
        "never begun": new_promotion().inject(delay=15, reset=True).start("promote_deferred"),
        "begun late": new_promotion().inject(delay=15).start("promote_redeployed"),
        "noted": new_promotion().start("promote_redeployed", pause_at="defer"),
        "completed": new_promotion().start("promote_redeployed", pause_at="end"),
        "waiting": new_promotion().start("promote_blocking"),
        "clear": new_promotion().start("promote_redeployed"),
        "clear, canceled": new_promotion().start("promote_canceled_deferred"),
        "fail": new_promotion().start("promote_deferred"),
        "fail, canceled, blocking": new_promotion().start("promote_canceled_blocking"),
        "fail, canceled, deferred": new_promotion().start("promote_canceled_deferred"),
        "terminate": new_promotion().start("promote_canceled_blocking"),
    }
    _interfere(started)
    return started


@pytest.fixture(scope="module", autouse=True)
def _all_started(trained: object, promoted: object) -> None:
    """Begin all before the first is waited for."""


def _interfere(started: Mapping[str, TrainingScenario | PromotionScenario]) -> None:
    """Let happen what the names say."""
    for event, scenario in started.items():
        match event.partition(",")[0]:
            case "never created" | "created late" | "never begun" | "begun late":
                scenario.kill_worker_when_posted()
            case "before":
                scenario.kill_worker("start")
            case "noted":
                scenario.kill_worker("defer")
            case "completed":
                scenario.release()
            case "waiting":
                scenario.wait_until_watched()
                scenario.kill_worker()
            case "clear":
                scenario.wait_until_watched()
                scenario.clear()
            case "fail":
                scenario.wait_until_watched()
                scenario.mark_failed()
            case "terminate":
                scenario.wait_until_watched()
                scenario.send_signal("supervisor", signal.SIGTERM)
    started["completed"].kill_worker("end")


class TestTraining:
    @pytest.mark.parametrize("event", ["before", "noted", "waiting", "completed"])
    def test_the_next_try_has_the_one_job(self, trained: dict[str, TrainingScenario], event: str) -> None:
        scenario = trained[event]
        scenario.wait_for_retry()
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(1, "COMPLETED")

    @pytest.mark.parametrize("mode", ["deferred", "blocking"])
    def test_a_clear_replaces_the_job(self, trained: dict[str, TrainingScenario], mode: str) -> None:
        scenario = trained[f"clear, {mode}"]
        scenario.wait_for_statuses("STOPPED", "RUNNING")
        scenario.release()
        scenario.finish()
        scenario.check(2, "STOPPED", "COMPLETED")

    @pytest.mark.parametrize("mode", ["deferred", "blocking"])
    def test_a_user_who_ends_the_task_stops_the_job(self, trained: dict[str, TrainingScenario], mode: str) -> None:
        scenario = trained[f"fail, {mode}"]
        scenario.finish("failed")
        scenario.wait_for_statuses("STOPPED")
        scenario.check(1, "STOPPED")
        assert scenario.output is None

    def test_a_terminated_task_stops_its_job_and_trains_again(self, trained: dict[str, TrainingScenario]) -> None:
        """The job takes some seconds to stop, and no try waits for its success meanwhile."""
        scenario = trained["terminate"]
        scenario.wait_for_statuses("STOPPED", "RUNNING")
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(2, "STOPPED", "COMPLETED")

    def test_a_job_that_is_created_after_the_death_is_found(self, trained: dict[str, TrainingScenario]) -> None:
        scenario = trained["created late"]
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(1, "COMPLETED")

    def test_a_job_that_was_never_created_is_created(self, trained: dict[str, TrainingScenario]) -> None:
        scenario = trained["never created"]
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(2, "COMPLETED")


class TestPromotion:
    def test_the_next_try_has_the_one_promotion(self, promoted: dict[str, PromotionScenario]) -> None:
        scenario = promoted["waiting"]
        scenario.wait_for_retry()
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(1)

    @pytest.mark.parametrize("event", ["begun late", "noted", "completed"])
    def test_the_next_try_has_the_deployment_that_was_made(
        self, promoted: dict[str, PromotionScenario], event: str
    ) -> None:
        scenario = promoted[event]
        scenario.wait_for_retry()
        if event != "completed":
            scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(1, new_deployments=1)

    def test_a_promotion_that_never_began_is_sent_again(self, promoted: dict[str, PromotionScenario]) -> None:
        scenario = promoted["never begun"]
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(2)

    def test_a_cleared_task_follows_its_promotion(self, promoted: dict[str, PromotionScenario]) -> None:
        scenario = promoted["clear"]
        scenario.wait_for_retry()
        scenario.release()
        scenario.finish()
        scenario.check(1, new_deployments=1)

    def test_a_cleared_task_promotes_again_only_after_a_cancel(self, promoted: dict[str, PromotionScenario]) -> None:
        """If the next try waits before the trigger looks at the state of the task, nothing is canceled."""
        scenario = promoted["clear, canceled"]
        scenario.wait_for_retry()
        scenario.wait_until(
            lambda: scenario.task.state == "deferred" and scenario.posts == scenario.cancels + 1, "one promotion"
        )
        scenario.release()
        scenario.finish()
        scenario.check(scenario.cancels + 1)

    def test_a_promotion_goes_on_when_a_user_ends_the_task(self, promoted: dict[str, PromotionScenario]) -> None:
        scenario = promoted["fail"]
        scenario.finish("failed")
        scenario.release()
        assert (scenario.posts, scenario.cancels, scenario.current) == (1, 0, scenario.new)

    @pytest.mark.parametrize("mode", ["deferred", "blocking"])
    def test_a_user_who_ends_the_task_cancels_the_promotion(
        self, promoted: dict[str, PromotionScenario], mode: str
    ) -> None:
        scenario = promoted[f"fail, canceled, {mode}"]
        scenario.finish("failed")
        scenario.wait_until(lambda: scenario.candidate is None, "the end of the promotion")
        assert (scenario.posts, scenario.cancels, scenario.current) == (1, 1, f"{scenario.name}d1")

    def test_a_terminated_task_promotes_again(self, promoted: dict[str, PromotionScenario]) -> None:
        scenario = promoted["terminate"]
        scenario.wait_until(lambda: scenario.cancels == 1 and scenario.posts == 2, "the second promotion")
        scenario.release()
        assert scenario.finish().try_number >= 2
        scenario.check(2)
