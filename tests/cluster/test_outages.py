"""Servers that are away for a while: nothing is paid twice, and no result is lost."""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from tests.cluster.calls import Calls
from tests.cluster.celery_cluster import WORKERS, CeleryCluster
from tests.cluster.services import Server
from tests.faults.cluster import PATIENCE
from tests.s3_server import S3Server
from tools.airflow_api import wait_until

NewCalls = Callable[[], Calls]

pytestmark = pytest.mark.timeout(600)  # With the start of the cluster.

# Airflow's default queue.
QUEUE = "default"
DATABASE_AWAY_SECONDS = 20


def spooled(cluster: CeleryCluster) -> list[Path]:
    """Return what is in the API server's spool."""
    return list((cluster.home / "baseten" / "spool").glob("*.signed"))


@pytest.fixture(autouse=True)
def _continued_workers(cluster: CeleryCluster) -> Iterator[None]:
    """Let workers that a failed test has stopped continue for the next one."""
    yield
    for number in range(1, WORKERS + 1):
        cluster.send("worker", signal.SIGCONT, number)


def test_broker_restarts_and_has_forgotten_everything(
    cluster: CeleryCluster, broker: Server, new_calls: NewCalls
) -> None:
    """Tasks on the workers continue; what was queued in the broker is queued again by the scheduler."""
    blocking, deferred = new_calls().start("blocking", 2), new_calls().start("deferred", 4)
    blocking.wait_until_polled()
    deferred.wait_until_deferred()
    for number in range(1, WORKERS + 1):
        cluster.send("worker", signal.SIGSTOP, number)
    deferred.release()
    with Redis.from_url(broker.url) as client:
        deferred.wait_until(lambda: client.llen(QUEUE) > 0, "a task to be queued in the broker")

    broker.end(signal.SIGKILL)
    broker.start()
    for number in range(1, WORKERS + 1):
        cluster.send("worker", signal.SIGCONT, number)
    blocking.release()

    deferred.check()
    blocking.check()


def test_database_away(cluster: CeleryCluster, database: Server, new_calls: NewCalls) -> None:
    """Requests are waited for in the triggerers and sent by a worker meanwhile, and results are delivered."""
    before, during, after = (new_calls().start("deferred", 2) for _ in range(3))
    for calls in (before, during, after):
        calls.wait_until_deferred()
    predict = new_calls().start("predict", 1)
    predict.wait_until(lambda: predict.sent == 1, "the predict to be sent")

    before.release()
    database.end(signal.SIGQUIT)
    during.release()
    time.sleep(DATABASE_AWAY_SECONDS)
    assert during.deliveries == [200] * 2
    predict.release()
    database.start()
    began = datetime.now(UTC)
    # A triggerer ends at some time while the database is away, and ends its processes first.
    wait_until(lambda: cluster.start_ended().is_healthy(began), 2 * PATIENCE, "a healthy Airflow")
    after.release()

    for calls in (before, during, after, predict):
        calls.check()


def test_result_store_hangs_during_deliveries(cluster: CeleryCluster, s3: S3Server, new_calls: NewCalls) -> None:
    """The receiver spools the deliveries, and stores them later."""
    calls = new_calls().start("deferred", 2)
    calls.wait_until_deferred()

    with s3.hanging():
        calls.release()
        calls.wait_until(lambda: calls.deliveries == [200] * 2, "the deliveries to be accepted")
        assert len(spooled(cluster)) == 2
        assert calls.states == {"deferred": 2}

    calls.check()
    assert calls.tries == [1] * 2
    assert spooled(cluster) == []


def test_result_store_refuses_while_outputs_are_read(cluster: CeleryCluster, s3: S3Server, new_calls: NewCalls) -> None:
    """A task that can't read its output fails, and its next try reads it and sends nothing."""
    calls = new_calls().start("deferred", 2)
    calls.wait_until_deferred()
    for number in range(1, WORKERS + 1):
        cluster.send("worker", signal.SIGSTOP, number)
    calls.release()
    calls.wait_until(lambda: "deferred" not in calls.states, "the results to be found")

    with s3.refusing():
        for number in range(1, WORKERS + 1):
            cluster.send("worker", signal.SIGCONT, number)
        calls.wait_until(lambda: "up_for_retry" in calls.states or calls.tries[-1] > 1, "a task to fail")

    calls.check()
    assert calls.tries[-1] > 1
