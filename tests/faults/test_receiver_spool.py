"""A result store that is away when the webhook comes: the receiver keeps the result, and nothing is lost."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.scenario import ANSWER, Scenario

NewScenario = Callable[[], Scenario]


def attempts(scenario: Scenario) -> list[int | None]:
    """Return what the receiver answered to each attempt to deliver."""
    return [attempt.status for request in scenario.accepted for attempt in request.webhook_attempts]


def spooled(cluster: Cluster) -> list[Path]:
    """Return what is in the API server's spool."""
    return list((cluster.home / "baseten" / "spool").glob("*.signed"))


@contextmanager
def away(store: Path) -> Iterator[None]:
    """Take the folder away. Modes would not keep root from writing."""
    moved = store.rename(store.with_name("away"))
    store.write_text("no folder")
    yield
    store.unlink()
    moved.rename(store)


def test_result_store_away(new_scenario: NewScenario, cluster: Cluster, fragile_store: Path) -> None:
    cluster.wait_until_healthy()
    deferred, blocking, predict = (new_scenario() for _ in range(3))
    predict.gate.close()
    deferred.start("deferred", connection="fragile")
    blocking.start("blocking", connection="fragile")
    predict.start("from_triggerer", connection="fragile")
    deferred.wait_until_deferred()
    blocking.wait_until_watched()
    predict.wait_until(lambda: predict.requests("predict") == 1, "the predict")

    with away(fragile_store):
        for scenario in (deferred, blocking):
            scenario.release()
            scenario.wait_until(lambda scenario=scenario: attempts(scenario) == [200], "the delivery to be answered")
        assert len(spooled(cluster)) == 2
        predict.gate.open()
        predict.wait_until(lambda: predict.is_answered("predict"), "the answer to the predict")
        states = [scenario.task.state for scenario in (deferred, blocking, predict)]
        assert states == ["deferred", "running", "deferred"]

    for scenario in (deferred, blocking):
        assert scenario.finish().try_number == 1
        assert attempts(scenario) == [200]
        scenario.check_counts(1, 1, ["SUCCEEDED"])
        assert scenario.output == ANSWER
    assert spooled(cluster) == []
    assert predict.finish().try_number == 1
    assert predict.requests("predict") == 1
    assert predict.output == ANSWER


def test_receiver_killed_before_the_store_is_back(
    new_scenario: NewScenario, cluster: Cluster, fragile_store: Path
) -> None:
    """The next API server stores what the killed one has spooled, without a request to its receiver."""
    cluster.wait_until_healthy()
    scenario = new_scenario().start("deferred", connection="fragile")
    scenario.wait_until_deferred()
    with away(fragile_store):
        scenario.release()
        scenario.wait_until(lambda: attempts(scenario) == [200], "the delivery to be answered")
        assert len(spooled(cluster)) == 1
        cluster.end("api-server", signal.SIGKILL)
    assert len(spooled(cluster)) == 1
    cluster.start("api-server")
    cluster.wait_until_healthy()

    # The start may take longer than the minute that a waiting task gives a late result; the next attempt finds it.
    scenario.finish()
    scenario.check_counts(1, 1, ["SUCCEEDED"])
    assert scenario.output == ANSWER
    assert spooled(cluster) == []
