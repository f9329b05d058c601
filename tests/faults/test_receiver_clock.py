"""Clocks of Baseten and of the receiver that differ by six minutes: the result is kept, and nothing is paid again."""

import signal
from collections.abc import Callable

from tests.faults.cluster import Cluster
from tests.faults.models import RetryClock
from tests.faults.scenario import ANSWER, Scenario
from tools.airflow_api import loopback_session

NewScenario = Callable[[], Scenario]


def test_the_result_is_stored_once_the_tolerance_is_raised(
    new_scenario: NewScenario, cluster: Cluster, clock: RetryClock
) -> None:
    cluster.wait_until_healthy()
    scenario = new_scenario().start("deferred")
    scenario.wait_until_deferred()
    clock.ahead = 360.0
    try:
        scenario.release()
        scenario.wait_until(lambda: scenario.statuses == ["WEBHOOK_FAILED"], "the delivery to be refused")
    finally:
        clock.ahead = 0.0
    assert [attempt.status for attempt in scenario.accepted[0].webhook_attempts] == [403]
    health = loopback_session().get(f"{cluster.url}/baseten/health", timeout=10).json()
    assert (health["status"], health["held"]) == ("degraded", 1)
    assert "the clock of this machine is off" in (cluster.home / "api-server-1.log").read_text()

    cluster.end("api-server", signal.SIGTERM)
    cluster.start("api-server", config={"AIRFLOW__BASETEN__WEBHOOK_TOLERANCE_SECONDS": "900"})
    cluster.wait_until_healthy()
    # A waiting task gives a late result a minute; if the start took longer, the next attempt finds it.
    scenario.finish()
    scenario.check_counts(1, 1, ["WEBHOOK_FAILED"])
    assert scenario.output == ANSWER
