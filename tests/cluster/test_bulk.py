"""Bulk jobs on a Celery cluster: whatever ends a task, no row is lost, and none that has an output is sent again."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.emulator import Emulator
from tests.cluster.calls import Squares
from tests.cluster.celery_cluster import CeleryCluster
from tests.faults.cluster import PATIENCE
from tests.s3_server import S3Server
from tools.airflow_api import DagRun, wait_until
from tools.demo import report

pytestmark = pytest.mark.timeout(600)  # With the start of the cluster.

ROWS = 8000
# Of the engine: a part, and what may be in flight beside it.
PART_ROWS = 1000
MAX_IN_FLIGHT = 1024


def start(cluster: CeleryCluster, dag_id: str, folder: Path, rows: int) -> DagRun:
    """Write an input file and start a run on it."""
    file = folder / "rows.jsonl"
    file.write_text("".join(f'{{"n": {number}}}\n' for number in range(rows)))
    return cluster.api.run(dag_id, {"input_path": str(file), "output_path": str(folder / "out")})


def outputs(folder: Path) -> Counter[tuple[int, int]]:
    """How often each row and its output stand in the parts."""
    entries = [json.loads(line) for file in folder.glob("out/part-*.jsonl") for line in file.open()]
    return Counter((entry["row"], entry["output"]["square"]) for entry in entries)


def progress(run: DagRun, shard: int) -> dict[str, Any]:
    """What Airflow's UI shows of a shard."""
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/score.predict/xcomEntries/baseten_bulk_job"
    value = run.api.call("GET", path, params={"map_index": shard, "stringify": False})["value"]
    return value["progress"]


def shards_with_a_part(folder: Path) -> set[str]:
    return {file.name.split("-")[1] for file in folder.glob("out/part-*.jsonl")}


def test_a_worker_that_is_killed_midway(
    cluster: CeleryCluster, baseten: Emulator, squares: Squares, s3: S3Server, tmp_path: Path
) -> None:
    run = start(cluster, "sharded", tmp_path, ROWS)
    wait_until(lambda: len(shards_with_a_part(tmp_path)) == 4, PATIENCE, "a part of each shard", every=0.1)
    cluster.end("worker", signal.SIGKILL, 1)
    kept = {row for row, _ in outputs(tmp_path)}
    cluster.start_worker(1)

    assert run.wait(3 * PATIENCE) == "success", report(run)

    tries = [task.try_number for task in run.task_instances() if task.task_id == "score.predict"]
    assert sorted(tries) == [1, 1, 2, 2]
    assert outputs(tmp_path) == Counter((row, row**2) for row in range(ROWS))
    sent = Counter(squares.received)
    assert {row % 4 for row in kept} == {0, 1, 2, 3}
    assert {row for row in kept if sent[row] != 1} == set()
    assert sent.total() == sum(request.model_id == "square" for request in baseten.requests)
    assert sent.total() - ROWS <= 2 * (PART_ROWS + MAX_IN_FLIGHT)
    merged = json.loads(s3.read(run.xcom("score.merge")))
    assert (merged["rows"], merged["succeeded"], merged["failed"]) == (ROWS, ROWS, 0)
    shown = [progress(run, shard) for shard in range(4)]
    assert {(shard["rows"], shard["failed"], shard["eta_seconds"]) for shard in shown} == {(ROWS // 4, 0, 0)}
    assert sorted(merged["parts"]) == sorted(str(file) for file in tmp_path.glob("out/part-*.jsonl"))


def test_a_task_that_is_marked_failed_ends_with_its_open_part_and_goes_on_when_it_is_cleared(
    cluster: CeleryCluster, squares: Squares, tmp_path: Path
) -> None:
    before = len(squares.received)
    run = start(cluster, "single", tmp_path, 1500)
    wait_until(lambda: len(squares.received) - before > 300, PATIENCE, "300 rows", every=0.1)
    assert not shards_with_a_part(tmp_path)

    run.mark("score", "failed")

    wait_until(lambda: shards_with_a_part(tmp_path) != set(), PATIENCE, "the open part", every=0.1)
    kept = outputs(tmp_path)
    assert run.wait(3 * PATIENCE) == "failed"
    assert kept.total() == len(squares.received) - before
    run.clear("score")
    assert run.wait(3 * PATIENCE) == "success", report(run)
    assert outputs(tmp_path) == Counter((row, row**2) for row in range(1500))
    assert Counter(squares.received[before:]) == Counter(range(1500))
