"""A request is sent once, whichever process dies while it is waited for."""

import signal

from tests.faults.cluster import Cluster
from tests.faults.scenario import ANSWER, Scenario


def test_worker_killed_after_the_record(scenario: Scenario) -> None:
    scenario.start("deferred", pause_at="defer")
    scenario.kill_worker("defer")
    scenario.wait_until_deferred()
    scenario.release()
    assert scenario.finish().try_number == 2
    assert (scenario.posts, scenario.model_runs, scenario.statuses) == (1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER


def test_triggerer_killed(scenario: Scenario, cluster: Cluster) -> None:
    scenario.start("deferred")
    scenario.wait_until_deferred()
    cluster.end("triggerer", signal.SIGKILL)
    scenario.release()
    cluster.start("triggerer")
    assert scenario.finish().try_number == 1
    assert (scenario.posts, scenario.model_runs, scenario.statuses) == (1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER
