"""A webhook that does not get through: the API server is away."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.faults.cluster import Cluster
from tests.faults.models import RetryClock
from tests.faults.scenario import ANSWER, Scenario

NewScenario = Callable[[], Scenario]


@pytest.fixture
def second_attempts(clock: RetryClock) -> Iterator[Callable[[], None]]:
    """Hold second attempts to deliver back until this is called."""
    clock.gate.close()
    yield clock.gate.open
    clock.gate.open()


def attempts(scenario: Scenario) -> list[int | None]:
    """Return what the receiver answered to each attempt to deliver."""
    return [attempt.status for request in scenario.accepted for attempt in request.webhook_attempts]


def test_api_server_down_at_the_first_attempt(
    new_scenario: NewScenario, cluster: Cluster, second_attempts: Callable[[], None]
) -> None:
    cluster.wait_until_healthy()
    retried, lost = new_scenario().start("deferred"), new_scenario().start("impatient")
    for scenario in (retried, lost):
        scenario.wait_until_deferred()
    retried.inject("webhook", status=503)  # As the proxy before it answers; Baseten tries again only then.
    cluster.end("api-server", signal.SIGKILL)
    for scenario in (retried, lost):
        scenario.release()
    retried.wait_until(lambda: attempts(retried) == [503], "the first attempt to deliver")
    lost.wait_until(lambda: attempts(lost) == [None], "the only attempt to deliver")
    cluster.start("api-server")
    cluster.wait_until_healthy()
    second_attempts()

    assert retried.finish().try_number == 1
    assert attempts(retried) == [503, 200]
    retried.check_counts(1, 1, ["SUCCEEDED"])
    assert retried.output == ANSWER

    assert lost.finish("failed").try_number == 2
    lost.check_counts(1, 1, ["WEBHOOK_FAILED"])
    assert all("BasetenResultLostError" in lost.log(number) for number in (1, 2))
    assert lost.output is None
