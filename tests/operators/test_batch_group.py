"""A bulk job in shards, as a task group in a real Airflow."""

import dataclasses
import inspect
import json
import threading
from pathlib import Path

import pytest
from airflow.sdk import DAG, Asset, task

from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from tests.ports import closed_port

KEY = "abcd1234.s3cr3t"


@pytest.fixture
def baseten(connect):
    with Emulator(models={"square": lambda row: row["n"] ** 2}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


def test_plan_shards_and_one_manifest_for_the_tasks_around_them(baseten, run_dag, tmp_path):
    @task
    def export():
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(f'{{"n": {number}}}\n' for number in range(10)))
        return str(file)

    @task
    def count(manifest):
        return manifest["succeeded"]

    with DAG("group", params={"folder": "out"}) as dag:
        group = BasetenBatchPredictGroup(
            "score",
            num_shards=3,
            model_id="square",
            input_path=export(),
            output_path=f"{tmp_path}/{{{{ params.folder }}}}",
        )
        count(group.output)
    run = run_dag(dag)
    assert run.state == "success"
    assert run.states.keys() == {"export", "score.plan", "score.predict", "score.merge", "count"}
    assert [run.xcom("score.predict", map_index=shard)["rows"] for shard in range(3)] == [4, 3, 3]
    merged = run.xcom("score.merge")
    assert (merged["rows"], merged["failed"], merged["num_shards"], merged["shard"]) == (10, 0, 3, None)
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text()) == merged
    lines = [json.loads(line) for uri in merged["parts"] for line in Path(uri).read_text().splitlines()]
    assert sorted((line["row"], line["output"]) for line in lines) == [(n, n**2) for n in range(10)]
    assert run.xcom("count") == 10
    assert len(baseten.requests) == 10


def test_airflows_own_arguments_reach_the_tasks_that_they_are_for(tmp_path):
    asset = Asset("scores")
    with DAG("group_arguments") as dag:
        BasetenBatchPredictGroup(
            "score",
            num_shards=2,
            model_id="square",
            inputs=[{"n": 1}],
            output_path=str(tmp_path),
            retries=4,
            queue="gpu",
            trigger_rule="all_done",
            map_index_template="shard",
            outlets=[asset],
        )
    tasks = {name: dag.get_task(f"score.{name}") for name in ("plan", "predict", "merge")}
    assert {name: (task.retries, task.queue) for name, task in tasks.items()} == dict.fromkeys(tasks, (4, "gpu"))
    assert [task.trigger_rule for task in tasks.values()] == ["all_done", "all_success", "all_success"]
    assert [task.map_index_template for task in tasks.values()] == [None, "shard", None]
    assert [task.outlets for task in tasks.values()] == [[], [], [asset]]


class TestFailedRows:
    def run(self, run_dag, tmp_path, rows, **arguments):
        with DAG("failed_rows_of_a_shard") as dag:
            BasetenBatchPredictGroup(
                "score", num_shards=2, model_id="square", inputs=rows, output_path=str(tmp_path), **arguments
            )
        return run_dag(dag)

    def test_every_row_of_one_shard(self, baseten, run_dag, tmp_path, capfd):
        run = self.run(run_dag, tmp_path, [{"n": 1}, {"n": "x"}])
        assert set(run.states.values()) == {"success"}
        assert run.xcom("score.merge")["failed"] == 1
        lines = capfd.readouterr().out
        assert f"Complete: 1 rows have an output, 1 have failed. The output folder is {tmp_path}." in lines
        assert "1 of 2 rows have failed (1 BasetenModelError); see " in lines

    def test_every_row_of_all_shards(self, baseten, run_dag, tmp_path, capfd):
        run = self.run(run_dag, tmp_path, [{"n": "x"}] * 4)
        assert (run.states["score.predict"], run.states["score.merge"]) == ("success", "failed")
        assert json.loads((tmp_path / "_manifest.json").read_text())["failed"] == 4
        assert "Every row has failed: 4 of 4 rows have failed (4 BasetenModelError)" in capfd.readouterr().out

    def test_every_row_where_that_is_allowed(self, baseten, run_dag, tmp_path):
        assert self.run(run_dag, tmp_path, [{"n": "x"}] * 4, max_failure_ratio=1.0).state == "success"

    def test_more_shards_than_rows(self, baseten, run_dag, tmp_path):
        assert self.run(run_dag, tmp_path, [{"n": 1}]).xcom("score.merge")["rows"] == 1

    def test_a_shard_without_a_network(self, connect, run_dag, tmp_path):
        with closed_port() as port:
            connect(host=f"http://127.0.0.1:{port}", password=KEY)
            run = self.run(run_dag, tmp_path, [{"n": 1}] * 2, request_retries=RequestRetries(max_attempts=1))
        assert (run.states["score.predict"], run.states["score.merge"]) == ("failed", "upstream_failed")


class TestPlan:
    def test_it_logs_what_it_has_found(self, baseten, run_dag, tmp_path, capfd):
        for name in ("a", "b"):
            (tmp_path / f"{name}.jsonl").write_text('{"n": 1}\n' * 150)
        out = tmp_path / "out"
        for run_number in range(2):
            with DAG(f"plan_{run_number}") as dag:
                BasetenBatchPredictGroup(
                    "score", num_shards=2, model_id="square", input_path=f"{tmp_path}/*.jsonl", output_path=str(out)
                )
            assert run_dag(dag).state == "success"
        lines = capfd.readouterr().out
        plan = f"Plan: 300 rows in 2 files for 2 shards. The output folder is {out};"
        assert f"{plan} it has nothing from previous runs." in lines
        assert f"{plan} it has 2 complete shards and 2 parts from previous runs." in lines


@pytest.mark.parametrize("trouble", ["no input", "another job's folder", "no such column"])
def test_what_no_shard_could_do_fails_the_plan(baseten, run_dag, tmp_path, trouble):
    arguments = {"inputs": [{"n": 1}]}
    if trouble == "no input":
        arguments = {"input_path": str(tmp_path / "nothing.jsonl")}
    elif trouble == "no such column":
        arguments["keep_columns"] = ["m"]
    else:
        (tmp_path / "_job-00000-of-00001.json").write_text('{"fingerprint": "other"}')
    with DAG("bad_plan") as dag:
        BasetenBatchPredictGroup("score", num_shards=2, model_id="square", output_path=str(tmp_path), **arguments)
    run = run_dag(dag)
    assert run.states["score.plan"] == "failed"
    assert run.states["score.predict"] == run.states["score.merge"] == "upstream_failed"
    assert baseten.requests == []


def test_a_shard_that_fails_leaves_no_manifest_of_the_whole(baseten, run_dag, tmp_path):
    with DAG("bad_shard") as dag:
        BasetenBatchPredictGroup(
            "score",
            num_shards=2,
            model_id="square",
            inputs=[{"n": 1}, {"n": "x"}],
            output_path=str(tmp_path),
            max_failed_rows=0,
        )
    run = run_dag(dag)
    assert run.state == "failed"
    assert run.states["score.merge"] == "upstream_failed"
    assert not (tmp_path / "_manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_shards": 0}, "num_shards=0"),
        ({"num_shards": 2, "shard": 1}, "remove the argument shard"),
        ({"num_shards": 2, "input_path": "rows.jsonl"}, "exactly one of inputs and input_path"),
        ({"num_shards": 2, "output_format": "xml"}, "output_format='xml'"),
    ],
)
def test_wrong_arguments_are_found_when_the_dag_is_parsed(arguments, words):
    with DAG("wrong"), pytest.raises(BasetenInputError, match=words):
        BasetenBatchPredictGroup("score", model_id="square", inputs=[1], output_path="out", **arguments)


def test_every_option_of_a_job_is_one_of_the_operator():
    options = {field.name for field in dataclasses.fields(BatchJob)} - {"target"}
    assert options <= {*inspect.signature(BasetenBatchPredictOperator).parameters, "headers"}


def test_a_job_version_reaches_the_plan_and_all_shards(baseten, run_dag, tmp_path):
    client = threading.Lock()  # As a client, it can't be compared between two runs.
    arguments = {"model_id": "square", "inputs": [{"n": 1}, {"n": 2}], "num_shards": 2, "output_path": str(tmp_path)}

    def version(dag_id, **version):
        with DAG(dag_id) as dag:
            BasetenBatchPredictGroup("score", model_input=lambda row: client and row, **arguments, **version)
        return run_dag(dag)

    assert version("without").states["score.plan"] == "failed"
    assert version("first", job_version="1").xcom("score.merge")["succeeded"] == 2
    assert version("second", job_version="2").states["score.plan"] == "failed"
    assert len(baseten.requests) == 2
