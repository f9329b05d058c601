"""Workers that are killed with all of their tasks: each async request is paid once, and its output is there."""

import signal
from collections.abc import Callable

import pytest

from airflow_provider_baseten.emulator import Emulator, Fault
from tests.cluster.calls import Calls
from tests.cluster.celery_cluster import TASKS_PER_WORKER, WORKERS, CeleryCluster

NewCalls = Callable[[], Calls]

pytestmark = pytest.mark.timeout(600)  # With the start of the cluster.
HALF = WORKERS * TASKS_PER_WORKER // 2


def test_killed_while_their_tasks_wait_and_send(cluster: CeleryCluster, baseten: Emulator, new_calls: NewCalls) -> None:
    """What Baseten has accepted is waited for again, and what it has not accepted is sent again."""
    waiting, sending = new_calls(), new_calls()
    waiting.start("blocking", HALF, "baseten_env")
    waiting.wait_until_polled()
    baseten.inject(Fault(target=sending.model_id, action="async_predict", delay=60, times=HALF))
    sending.start("deferred", HALF, "baseten_staging")
    sending.wait_until(lambda: sending.sent == HALF, "the requests to be sent")

    for number in range(1, WORKERS + 1):
        cluster.end("worker", signal.SIGKILL, number)
    for number in range(1, WORKERS + 1):
        cluster.start_worker(number)
    for calls in (waiting, sending):
        calls.release()

    waiting.check()
    sending.check(sent_again=HALF)
    assert waiting.tries == sending.tries == [2] * HALF
