"""Runs on a cluster in which nothing fails: the example DAGs, and connections from each place that Airflow knows."""

from collections.abc import Callable

import pytest

from tests.cluster.calls import Calls
from tests.cluster.celery_cluster import CeleryCluster
from tools.demo import report, run_examples

NewCalls = Callable[[], Calls]

pytestmark = pytest.mark.timeout(600)  # With the start of the cluster.


def test_example_dags(cluster: CeleryCluster) -> None:
    runs = run_examples(cluster, progress=lambda line: None)
    assert {run.dag_id: run.state() for run in runs} == {run.dag_id: "success" for run in runs}, "\n".join(
        report(run) for run in runs
    )


@pytest.mark.parametrize("connection", ["baseten_default", "baseten_env", "baseten_staging"])
def test_connection_from_each_place(new_calls: NewCalls, connection: str) -> None:
    ways = [new_calls().start(way, 1, connection) for way in ("deferred", "blocking", "predict")]
    for calls in ways:
        calls.release()
    for calls in ways:
        calls.check()
