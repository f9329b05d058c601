"""BasetenBatchPredictOperator in a real Airflow, against the emulator."""

import json
import logging
import os
import re
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.batch import engine
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator, Fault
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators import activity_report
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from tests.ports import closed_port

KEY = "abcd1234.s3cr3t"


def square(row):
    return {"square": row["n"] ** 2}


@pytest.fixture
def baseten(connect):
    with Emulator(models={"square": square}, api_key=KEY) as emulator:
        connect(host=emulator.url, password=KEY)
        yield emulator


def batch(task_id, output_path, **arguments):
    return BasetenBatchPredictOperator(task_id=task_id, model_id="square", output_path=str(output_path), **arguments)


def numbers(count):
    return [{"n": number} for number in range(count)]


def outputs(folder):
    """Row number -> output, of all parts; a row that is there twice is an error."""
    found = {}
    for file in folder.glob("part-*.jsonl"):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            assert entry["row"] not in found
            found[entry["row"]] = entry["output"]
    return found


def squares(count):
    return {number: {"square": number**2} for number in range(count)}


def test_rows_of_a_list_of_a_task_and_of_a_file(baseten, run_dag, tmp_path):
    file = tmp_path / "rows-1.jsonl"
    file.write_text("".join(f'{{"n": {number}}}\n' for number in range(3)))

    @task
    def make():
        return numbers(4)

    @task
    def make_one(number):
        return {"n": number}

    with DAG("sources", params={"file": 1}) as dag:
        batch("literal", tmp_path / "literal", inputs=numbers(2))
        batch("lazy", tmp_path / "lazy", inputs=range(5), model_input=lambda number: {"n": number})
        batch("from_task", tmp_path / "from_task", inputs=make())
        batch("from_mapped_task", tmp_path / "from_mapped_task", inputs=make_one.expand(number=[0, 1, 2]))
        batch(
            "from_file",
            f"file://{tmp_path}/{{{{ ti.task_id }}}}",
            input_path=f"{tmp_path}/rows-{{{{ params.file }}}}.jsonl",
        )
    run = run_dag(dag)
    assert run.state == "success"
    expected = {"literal": 2, "lazy": 5, "from_task": 4, "from_mapped_task": 3, "from_file": 3}
    for task_id, count in expected.items():
        assert outputs(tmp_path / task_id) == squares(count)
        manifest = run.xcom(task_id)
        assert (manifest["complete"], manifest["rows"], manifest["succeeded"], manifest["failed"]) == (
            True,
            count,
            count,
            0,
        )
        assert json.loads((tmp_path / task_id / "_manifest.json").read_text()) == manifest
    assert len(baseten.requests) == sum(expected.values())


class TestRepeats:
    def test_a_second_run_sends_nothing_again_and_a_changed_input_is_refused(self, baseten, run_dag, tmp_path):
        for run_number, count in enumerate((3, 3, 4)):
            with DAG(f"again_{run_number}") as dag:
                batch("again", tmp_path / "out", inputs=numbers(count))
            assert run_dag(dag).state == ("failed" if count == 4 else "success")
            assert len(baseten.requests) == 3
        with DAG("again_overwrite") as dag:
            batch("again", tmp_path / "out", inputs=numbers(4), overwrite=True)
        assert run_dag(dag).state == "success"
        assert outputs(tmp_path / "out") == squares(4)

    def test_a_retry_sends_only_what_has_failed(self, baseten, run_dag, tmp_path):
        baseten.inject(Fault(target="square", status=500))
        with DAG("retry") as dag:
            batch(
                "retry",
                tmp_path / "out",
                inputs=numbers(20),
                max_failed_rows=0,
                max_concurrency=1,
                retries=1,
                retry_delay=timedelta(0),
            )
        run = run_dag(dag)
        assert run.state == "success"
        assert run.tries["retry", -1] == 2
        assert outputs(tmp_path / "out") == squares(20)
        assert len(baseten.requests) == 21
        assert run.xcom("retry")["failed_parts"] == []


class TestMissingInput:
    def test_a_file_that_comes_late_is_found_by_a_retry(self, baseten, run_dag, tmp_path, capfd):
        file = tmp_path / "rows.jsonl"
        with DAG("late") as dag:
            batch(
                "late",
                tmp_path / "out",
                input_path=str(file),
                retries=1,
                retry_delay=timedelta(0),
                on_retry_callback=lambda context: file.write_text('{"n": 2}\n'),
            )
        run = run_dag(dag)
        assert run.state == "success"
        assert f"input_path {file} does not exist" in "".join(capfd.readouterr())
        assert outputs(tmp_path / "out") == {0: {"square": 4}}


class TestFailedRows:
    ROWS = ({"n": 1}, {"n": None}, {"n": 3}, {"n": "x"})

    def test_they_do_not_fail_the_others_and_log_and_manifest_say_where_they_are(
        self, baseten, run_dag, tmp_path, capfd
    ):
        with DAG("failed_rows") as dag:
            batch("bad", tmp_path / "out", inputs=self.ROWS)
        run = run_dag(dag)
        assert run.state == "success"
        manifest = run.xcom("bad")
        assert (manifest["rows"], manifest["succeeded"], manifest["failed"]) == (4, 2, 2)
        assert manifest["outcomes"] == {"success": 2, "BasetenModelError": 2}
        [uri] = manifest["failed_parts"]
        [warning] = [line for line in capfd.readouterr().out.splitlines() if "rows have failed" in line]
        assert f"[warning  ] 2 of 4 rows have failed (2 BasetenModelError); see {uri}." in warning
        failed = [json.loads(line) for line in Path(uri).read_text().splitlines()]
        assert [entry["row"] for entry in failed] == [1, 3]
        assert {entry["error"]["request_id"] for entry in failed} <= {
            request.request_id for request in baseten.requests
        }
        assert outputs(tmp_path / "out") == {0: {"square": 1}, 2: {"square": 9}}

    @pytest.mark.parametrize("limit", [{"max_failed_rows": 1}, {"max_failure_ratio": 0.4}])
    def test_too_many_fail_the_task_with_counts_and_place(self, baseten, run_dag, tmp_path, capfd, limit):
        with DAG("too_many") as dag:
            batch("bad", tmp_path / "out", inputs=self.ROWS, **limit)
        run = run_dag(dag)
        assert run.state == "failed"
        seen = "".join(capfd.readouterr())
        assert "BasetenBatchError" in seen
        assert f"{tmp_path}/out" in seen
        assert outputs(tmp_path / "out").keys() == {0, 2}

    def test_every_row(self, baseten, run_dag, tmp_path, capfd):
        with DAG("every_row") as dag:
            batch("bad", tmp_path / "bad", inputs=[{"n": None}] * 3, max_failed_rows=3)
            batch("allowed", tmp_path / "allowed", inputs=[{"n": None}] * 3, max_failure_ratio=1.0)
            batch("none", tmp_path / "none", inputs=[])
        run = run_dag(dag)
        assert run.states == {"bad": "failed", "allowed": "success", "none": "success"}
        assert run.keys("bad") == set()
        error = " ".join(capfd.readouterr().out.partition("BasetenBatchError\n")[2].split())
        assert error.startswith("Every row has failed: 3 of 3 rows have failed (3 BasetenModelError); see ")
        assert "Row 0: predict of model square" in error
        assert "max_failure_ratio=1." in error

    def test_a_second_run_with_outputs_of_the_first_is_no_run_without_outputs(self, baseten, run_dag, tmp_path):
        for count in range(2):
            with DAG(f"resumed_{count}") as dag:
                batch("bad", tmp_path / "out", inputs=[{"n": 1}, {"n": "x"}])
            run = run_dag(dag)
            assert run.state == "success"
            assert run.xcom("bad")["failed"] == 1
        assert len(baseten.requests) == 3

    def test_no_network(self, connect, run_dag, tmp_path, capfd):
        with DAG("no_network") as dag:
            batch("bad", tmp_path, inputs=numbers(2), request_retries=RequestRetries(max_attempts=1))
        with closed_port() as port:
            connect(host=f"http://127.0.0.1:{port}", password=KEY)
            assert run_dag(dag).state == "failed"
        assert "No row got a response: 2 of 2 rows have failed (2 BasetenUnavailableError)" in capfd.readouterr().out

    @pytest.mark.parametrize("limit", [{"max_failed_rows": 2}, {"max_failure_ratio": 0.5}])
    def test_as_many_as_are_allowed_do_not(self, baseten, run_dag, tmp_path, limit):
        with DAG("allowed") as dag:
            batch("bad", tmp_path / "out", inputs=self.ROWS, **limit)
        assert run_dag(dag).state == "success"


class TestStop:
    @pytest.fixture(autouse=True)
    def handler(self):
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_sigterm_ends_the_run_with_the_open_part_and_the_retry_goes_on(self, connect, run_dag, tmp_path, capfd):
        """The model sends the signal once, while it runs, to this process: ``dag.test()`` runs the task in it."""
        answered = []

        def kill_once(row):
            if row["n"] == 100 and not answered.count(100):
                os.kill(os.getpid(), signal.SIGTERM)
            answered.append(row["n"])
            return {"square": row["n"] ** 2}

        with Emulator(models={"square": kill_once}, api_key=KEY) as emulator, DAG("stopped") as dag:
            connect(host=emulator.url, password=KEY)
            batch(
                "stopped",
                tmp_path / "out",
                inputs=numbers(400),
                max_concurrency=4,
                requests_per_second=200,
                retries=1,
                retry_delay=timedelta(0),
            )
            run = run_dag(dag)
        assert run.state == "success"
        assert run.tries["stopped", -1] == 2
        assert "The task was stopped after" in "".join(capfd.readouterr())
        assert sorted(answered) == list(range(400))
        assert outputs(tmp_path / "out") == squares(400)
        assert run.xcom("stopped")["sent"] < 400


def test_the_execution_timeout_keeps_the_open_part_and_a_retry_goes_on(baseten, run_dag, tmp_path, capfd):
    with DAG("timeout") as dag:
        batch(
            "timeout",
            tmp_path / "out",
            inputs=numbers(400),
            requests_per_second=100,
            execution_timeout=timedelta(seconds=2.5),
            retries=5,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.tries["timeout", -1] > 1
    assert "AirflowTaskTimeout" in "".join(capfd.readouterr())
    assert outputs(tmp_path / "out") == squares(400)
    assert len(baseten.requests) == 400


class TestShards:
    def test_each_takes_its_rows_and_none_is_sent_twice(self, baseten, run_dag, tmp_path):
        with DAG("shards") as dag:
            BasetenBatchPredictOperator.partial(
                task_id="shard", model_id="square", inputs=numbers(10), output_path=str(tmp_path / "out"), num_shards=3
            ).expand(shard=list(range(3)))
        run = run_dag(dag)
        assert run.state == "success"
        assert [run.xcom("shard", map_index=index)["rows"] for index in range(3)] == [4, 3, 3]
        assert {fields["inputs"] for fields in run.rendered.values()} == {"(list, not shown)"}
        assert outputs(tmp_path / "out") == squares(10)
        assert len(baseten.requests) == 10

    def test_one_without_its_number_would_leave_rows_out(self, tmp_path):
        with pytest.raises(
            BasetenInputError, match=r"num_shards=2 without shard .*\.expand\(shard=list\(range\(2\)\)\)"
        ):
            batch("half", tmp_path, inputs=numbers(10), num_shards=2)


class TestProgress:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch):
        monkeypatch.setattr(engine, "PROGRESS_SECONDS", 0.2)

    def test_is_logged_and_kept_for_the_pages(self, baseten, run_dag, tmp_path, capfd):
        began = time.time()
        with DAG("progress") as dag:
            batch("progress", tmp_path / "out", inputs=numbers(60), requests_per_second=60)
        run = run_dag(dag)
        assert run.state == "success"
        lines = capfd.readouterr().out
        assert re.search(
            r"\d+ of 60 rows, \d+ rows/s, 0 failed, at most \d+ requests in flight, 0:00:0\d left\.", lines
        )
        assert f"Complete: 60 rows have an output, 0 have failed. The output folder is {tmp_path}/out." in lines
        assert "[warning" not in lines
        record = run.records["progress", -1, "baseten_bulk_job"]
        latencies, history = record["progress"].pop("latencies"), record.pop("history")
        assert record["progress"] == {
            "rows": 60,
            "total": 60,
            "at_least": 60,
            "failed": 0,
            "errors": {},
            "rows_per_second": run.xcom("progress")["rows_per_second"],
            "concurrency": 0,
            "eta_seconds": 0.0,
        }
        assert sum(latencies["counts"]) == 60
        assert len(latencies["up_to"]) == len(latencies["counts"])
        assert len(history["at"]) >= 3
        assert all(began <= at <= time.time() for at in history["at"])
        assert all(limit > 0 for limit in history["concurrency"])
        assert record["target"] == "model square (environment production)"
        assert record["page"] == f"{baseten.url}/v1/models/square"
        assert record["output_path"] == f"{tmp_path}/out"
        assert record["ended"]
        assert began <= record["started_at"] <= record["updated_at"] <= time.time()

    def test_of_a_job_that_fails_is_kept_up_to_its_end(self, connect, run_dag, tmp_path):
        connect(host="http://127.0.0.1:1", password="abcd1234.s3cr3t")
        once = {"request_retries": RequestRetries(max_attempts=1)}
        with DAG("failed_job") as dag:
            batch("failed_job", tmp_path / "out", inputs=numbers(9), **once)
        run = run_dag(dag)
        assert run.state == "failed"
        record = run.records["failed_job", -1, "baseten_bulk_job"]
        assert record["ended"]
        assert record["progress"]["errors"] == {"BasetenUnavailableError": 9}
        assert run.records["failed_job", -1, "baseten_failure"]["type"] == "BasetenBatchError"

    def test_is_kept_from_the_start(self, connect, run_dag, tmp_path):
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        found = []

        def look(row):
            with create_session() as session:
                kept = session.query(XComModel).filter_by(dag_id="first_record", key="baseten_bulk_job").all()
                found.extend(XComModel.deserialize_value(record) for record in kept)
            return row

        with Emulator(models={"square": look}, api_key=KEY) as emulator, DAG("first_record") as dag:
            connect(host=emulator.url, password=KEY)
            batch("first_record", tmp_path / "out", inputs=numbers(1))
            assert run_dag(dag).state == "success"
        assert [(record["ended"], record["progress"]["rows"]) for record in found] == [(False, 0)]

    def test_a_server_that_is_not_there_is_told_while_the_job_runs(self, connect, run_dag, tmp_path, capfd):
        connect(host="http://127.0.0.1:1", password="abcd1234.s3cr3t")
        once = {"request_retries": RequestRetries(max_attempts=1)}
        with DAG("dead_host") as dag:
            batch("dead_host", tmp_path / "out", inputs=numbers(60), requests_per_second=60, **once)
        run_dag(dag)
        lines = capfd.readouterr().out
        assert re.search(r"of 60 rows, .* (\d+) failed \(\1 BasetenUnavailableError\), at most", lines)

    def test_that_can_not_be_kept_does_not_fail_the_task(self, baseten, run_dag, tmp_path, monkeypatch):
        def fail(task_instance, record):
            raise RuntimeError("no XComs now")

        monkeypatch.setattr(activity_report, "keep_record", fail)
        with DAG("no_record") as dag:
            batch("no_record", tmp_path / "out", inputs=numbers(60), requests_per_second=60)
        run = run_dag(dag)
        assert run.state == "success"
        assert run.records == {}


def test_rows_and_outputs_are_in_neither_log_nor_rendered_templates(connect, run_dag, tmp_path, caplog, capfd):
    def answer(row):
        return {"said": row["text"].upper()}

    with Emulator(models={"square": answer}, api_key=KEY) as emulator, DAG("private") as dag:
        connect(host=emulator.url, password=KEY)
        batch(
            "plain",
            tmp_path / "plain",
            inputs=[{"text": "private-{{ 1 + 1 }}"}, {"no text": "private-3"}],
            headers={"X-Token": "private-4"},
        )
        batch("mapped", tmp_path / "mapped", inputs=[1], model_input=lambda row: {"text": "private-5"})
        with caplog.at_level(logging.DEBUG):
            run = run_dag(dag)
    assert outputs(tmp_path / "plain") == {0: {"said": "PRIVATE-2"}}
    assert [r.headers["x-token"] for r in emulator.requests if "x-token" in r.headers] == ["private-4"] * 2
    seen = caplog.text + "".join(capfd.readouterr()) + str(run.rendered) + str(run.xcoms)
    assert "1 have failed" in seen
    for secret in ("private-", "PRIVATE-", KEY):
        assert secret not in seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of inputs and input_path; neither"),
        ({"inputs": [1], "input_path": "rows.jsonl"}, "both"),
        ({"inputs": [1], "output_format": "csv"}, "output_format='csv'"),
        ({"inputs": [1], "max_concurrency": 0}, "max_concurrency=0"),
        ({"inputs": [1], "max_failure_ratio": 2}, "max_failure_ratio=2"),
        ({"inputs": [1], "num_shards": 2, "shard": 2}, "shard=2"),
        ({"inputs": [1], "keep_columns": "id"}, "keep_columns"),
        ({"inputs": [1], "parameters": {"a": 1}}, "parameters"),
        ({"inputs": [1], "model_id": None}, "exactly one of model_id and chain_id"),
    ],
)
def test_wrong_arguments_are_found_when_the_dag_is_parsed(arguments, words):
    with pytest.raises(BasetenInputError, match=words):
        BasetenBatchPredictOperator(**{"task_id": "t", "model_id": "square", "output_path": "out"} | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs": "{{ params.rows }}"},
        {"input_path": "/no/such/{{ ds }}.jsonl"},
        {"inputs": [{"n": 1}], "keep_columns": ["m"]},
        {"inputs": [{"n": 1}], "output_path": "{{ params.nothing }}"},
        {"inputs": [{"n": 1}], "output_path": "/proc/no/such"},
        {"inputs": [{"n": 1}], "model_id": "{{ params.model }}"},
    ],
)
def test_what_only_rendering_shows_is_found_before_anything_is_sent(baseten, run_dag, tmp_path, arguments):
    params = {"rows": "a text", "nothing": "", "model": "not/an/id"}
    with DAG("unusable", params=params) as dag:
        BasetenBatchPredictOperator(
            **{"task_id": "t", "model_id": "square", "output_path": str(tmp_path / "out")} | arguments
        )
    assert run_dag(dag).state == "failed"
    assert baseten.requests == []
