"""Triggers that move from one triggerer to the other: no request is sent again or cancelled, and no result is lost."""

import signal
from collections.abc import Callable

import pytest

from tests.cluster.calls import Calls
from tests.cluster.celery_cluster import CeleryCluster

NewCalls = Callable[[], Calls]

pytestmark = pytest.mark.timeout(600)  # With the start of the cluster.

TASKS = 12


def test_killed_and_stopped_triggerers(cluster: CeleryCluster, new_calls: NewCalls) -> None:
    calls = new_calls().start("deferred", TASKS)
    calls.wait_until_deferred()

    # All triggers move to the second triggerer.
    cluster.end("triggerer", signal.SIGKILL, 1)
    calls.wait_until_polled()
    # Then to the first one, which is started again.
    cluster.start("triggerer", 1)
    cluster.send("triggerer", signal.SIGSTOP, 2)
    calls.wait_until_polled()
    # The second one notices that it has lost its triggers, which must not cancel anything.
    cluster.send("triggerer", signal.SIGCONT, 2)
    calls.wait_until(
        lambda: calls.trigger_logs().count("invoking on_kill") >= TASKS, "the second triggerer to lose its triggers"
    )
    calls.wait_until_polled()
    assert {request.status for request in calls.accepted} == {"QUEUED"}
    calls.release()

    calls.check()
    assert calls.tries == [1] * TASKS
