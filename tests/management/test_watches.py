"""What watches decide from what they read, and which lines of a training job reach the log."""

import time
from types import SimpleNamespace

import pendulum
import pytest

from airflow_provider_baseten.api.management.deployments import Deployment
from airflow_provider_baseten.api.management.environments import Environment
from airflow_provider_baseten.api.management.logs import LogLine
from airflow_provider_baseten.api.management.training_jobs import TrainingJob
from airflow_provider_baseten.exceptions import BasetenDeploymentError, BasetenResponseError
from airflow_provider_baseten.waiting.management.deployment import ACTIVATION_FAILED_STATUSES, DeploymentWatch
from airflow_provider_baseten.waiting.management.promotion import PromotionWatch
from airflow_provider_baseten.waiting.management.steps import run_steps
from airflow_provider_baseten.waiting.management.training import TrainingWatch

BEGAN = 1_790_000_000.0


def deployment(id_, status="ACTIVE"):
    return Deployment(id=id_, name=id_, model_id="m", status=status, created_at="2026-01-01T00:00:00Z")


def environment(current="old", candidate=None, status=None, **promotion):
    return Environment(
        name="production",
        current_deployment=deployment(current),
        candidate_deployment=None if candidate is None else deployment(*candidate),
        in_progress_promotion=None if status is None else {"status": status, **promotion},
    )


class TestPromotion:
    watch = PromotionWatch(began=BEGAN, model_id="m", environment="production", deployment_id="new")

    @pytest.mark.parametrize(
        "found",
        [
            environment("new"),
            environment("new", status="SUCCEEDED"),
            # Another promotion began between two looks.
            environment("new", ["next"], "RAMPING_UP"),
            environment("new", ["next"], "FAILED"),
        ],
    )
    def test_complete(self, found):
        state = self.watch.judge(found, BEGAN + 100)
        assert state.is_done
        assert state.result["deployment_id"] == "new"

    @pytest.mark.parametrize(
        "found",
        [
            environment(candidate=["new"], status="RELEASING"),
            environment(candidate=["new"], status="RAMPING_UP", percent_traffic_to_new_version=None),
            environment("new", ["new"], "RAMPING_UP"),
            environment(status="RELEASING"),
        ],
    )
    def test_in_progress(self, found):
        assert not self.watch.judge(found, BEGAN + 100).has_ended

    @pytest.mark.parametrize("found", [environment(), environment(candidate=["other"], status="FAILED")])
    def test_not_visible_at_first(self, found):
        """A promotion that failed earlier may be visible until the new one is."""
        assert not self.watch.judge(found, BEGAN + 1).has_ended
        message = str(self.watch.judge(found, BEGAN + 100).error)
        assert "deployment new of model m to production is not in progress any more" in message
        assert "the environment has deployment old" in message

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            (
                environment(candidate=["new"], status="FAILED", error_message="no\n  GPU."),
                "is FAILED; the environment has deployment old. Baseten says: no GPU. Read",
            ),
            (
                environment(candidate=["new", "UNHEALTHY"], status="RELEASING"),
                "deployment new of model m, which is being promoted, is UNHEALTHY",
            ),
            (environment(candidate=["other"], status="RAMPING_UP"), "was replaced: deployment other is being promoted"),
        ],
    )
    def test_failed(self, found, message):
        error = self.watch.judge(found, BEGAN + 1).error
        assert isinstance(error, BasetenDeploymentError)
        assert message in str(error)


class TestActivation:
    @pytest.mark.parametrize(
        ("before", "seconds", "has_failed"),
        [
            ("INACTIVE", 1, False),
            ("INACTIVE", 100, True),
            ("DEACTIVATING", 1, False),
            ("SCALED_TO_ZERO", 1, True),
            (None, 1, True),
        ],
    )
    def test_a_deployment_that_is_deactivated_meanwhile(self, before, seconds, has_failed):
        watch = DeploymentWatch(
            began=BEGAN,
            target={"model_id": "m", "deployment_id": "new"},
            failed_statuses=[*ACTIVATION_FAILED_STATUSES],
            status_before=before,
        )
        state = watch.judge(deployment("new", "INACTIVE"), BEGAN + seconds)
        assert not state.is_done
        assert (state.error is not None) is has_failed
        if has_failed:
            assert "is INACTIVE: it was deactivated; activate it again." in str(state.error)
            assert state.error.retryable


class Job:
    """A training job that has ended, and the answers to the calls that look at it."""

    def __init__(self, *lines):
        self.lines = lines
        self.calls = 0

    def answer(self, call):
        self.calls += 1
        path, _, query = call.request.path.partition("?")
        if not path.endswith("/logs"):
            status = "TRAINING_JOB_FAILED"
            created_at = pendulum.from_timestamp(BEGAN)
            return TrainingJob(id="j", training_project_id="p", current_status=status, created_at=created_at)
        selection = dict(pair.split("=") for pair in query.split("&"))
        start = int(selection["start_epoch_millis"]) * 1_000_000
        found = [line for line in self.lines if int(line["timestamp"]) >= start]
        if selection["direction"] == "desc":
            found.reverse()
        return [LogLine(**line) for line in found[: int(selection["limit"])]]

    def look(self):
        """Look once, and return what was logged."""
        watch = TrainingWatch(began=BEGAN, project_id="p", job_id="j")
        logged = []
        log = SimpleNamespace(
            info=lambda text, *values: logged.append(text % values),
            warning=lambda text, *values: logged.append("WARNING " + text % values),
        )
        assert run_steps(watch.looks(log)(BEGAN + 1), self.answer).error is not None
        return logged


def lines(number, every=1_000_000, first=0):
    """Lines with times in nanoseconds."""
    start = int(BEGAN) * 1_000_000_000
    return [{"timestamp": str(start + every * n), "message": f"line {n}"} for n in range(first, first + number)]


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.usefixtures("no_pauses")
class TestLinesOfATrainingJob:
    def test_all_lines_that_are_left_when_the_job_has_ended(self):
        assert Job(*lines(12_345)).look() == [f"| line {n}" for n in range(12_345)]

    def test_a_line_is_logged_without_control_characters_and_with_its_end(self):
        message = "\x1b[31m" + "x" * 3000 + "the reason\r\n"
        (logged,) = Job({"timestamp": str(int(BEGAN) * 1_000_000_000), "message": message}).look()
        assert logged.startswith("| xxx")
        assert logged.endswith("the reason")
        assert "[1,010 characters]" in logged

    def test_of_very_many_lines_the_last_ones(self):
        logged = Job(*lines(70_000)).look()
        assert logged[0] == "| line 0"
        assert logged[-1] == "| line 69999"
        assert [line for line in logged if "WARNING" in line] == [
            "WARNING training job j has more lines than are logged here. Its last lines are:"
        ]

    def test_more_lines_of_one_millisecond_than_can_be_read(self):
        logged = Job(*lines(1500, every=1), *lines(5, first=10_000)).look()
        assert logged[-1] == "| line 10004"
        assert [line for line in logged if "WARNING" in line] == [
            "WARNING training job j has lines that can't be read: too many of one millisecond."
        ]


@pytest.mark.parametrize("time", [None, [], {}, "soon", float("inf"), True])
def test_a_line_without_a_time_is_no_foreign_exception(time):
    from airflow_provider_baseten.api.management.call import reads

    request = SimpleNamespace(subject="reading", idempotent=True)
    body = {"logs": [{"timestamp": time, "message": "m"}]}
    response = SimpleNamespace(request=request, status=200, request_id=None, output=lambda: body)
    with pytest.raises(BasetenResponseError, match=r"0\.timestamp"):
        reads(list[LogLine], "logs")(response)
