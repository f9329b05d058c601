"""@task.baseten_batch in a real Airflow, against the emulator."""

import datetime
import json

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.exceptions import BasetenInputError
from tests.decorators.conftest import KEY


def outputs(folder):
    entries = [json.loads(line) for file in folder.glob("part-*.jsonl") for line in file.open()]
    return sorted((entry["row"], entry["output"]) for entry in entries)


def test_rows_that_a_function_yields_or_returns(baseten, run_dag, tmp_path):
    @task
    def words():
        return ["a", "b"]

    @task.baseten_batch(model_id="echo", output_path=f"{tmp_path}/{{{{ ti.task_id }}}}")
    def yielded(words, times, *, ti=None):
        for number in range(times):
            for word in words:
                yield {"text": f"{word}{number}", "task": ti.task_id}

    @task.baseten_batch(model_id="echo", output_path=f"{tmp_path}/{{{{ ti.task_id }}}}")
    def returned(words):
        return [{"text": word} for word in words]

    @task
    def count(manifest):
        return manifest["succeeded"]

    with DAG("yielding") as dag:
        found = words()
        count(yielded(found, times=2))
        returned(found)
    run = run_dag(dag)
    assert run.state == "success"
    rows = [{"text": text, "task": "yielded"} for text in ("a0", "b0", "a1", "b1")]
    assert outputs(tmp_path / "yielded") == list(enumerate(rows))
    assert outputs(tmp_path / "returned") == [(0, {"text": "a"}), (1, {"text": "b"})]
    assert run.xcom("count") == 4
    assert len(baseten.requests) == 6


def test_a_retry_calls_the_function_again_and_sends_what_has_no_output(baseten, run_dag, tmp_path):
    calls = []

    @task.baseten_batch(
        model_id="echo",
        output_path=str(tmp_path / "out"),
        max_concurrency=1,
        retries=1,
        retry_delay=datetime.timedelta(0),
    )
    def rows():
        calls.append(len(baseten.requests))
        for number in range(200):
            if number == 150 and len(calls) == 1:
                raise ConnectionError("the source of the rows broke off")
            yield {"n": number}

    with DAG("rows_broken_off") as dag:
        rows()
    run = run_dag(dag)
    assert run.state == "success"
    assert len(calls) == 2
    assert outputs(tmp_path / "out") == [(number, {"n": number}) for number in range(200)]
    assert len(baseten.requests) == 200


def test_rows_are_neither_rendered_nor_shown(baseten, run_dag, tmp_path, caplog, capfd):
    @task.baseten_batch(model_id="echo", output_path=str(tmp_path / "out"))
    def rows(secret):
        yield {"text": "private-{{ 1 + 1 }}", "secret": secret}

    with DAG("private_rows") as dag:
        rows("private-3")
    run = run_dag(dag)
    assert outputs(tmp_path / "out") == [(0, {"text": "private-{{ 1 + 1 }}", "secret": "private-3"})]
    seen = caplog.text + "".join(capfd.readouterr()) + str(run.rendered)
    for secret in ("private-{{", "private-3", KEY):
        assert secret not in seen


@pytest.mark.parametrize("arguments", [{"inputs": [1]}, {"input_path": "rows.jsonl"}, {"rows_per_request": 0}])
def test_wrong_arguments_are_found_when_the_dag_is_parsed(arguments):
    @task.baseten_batch(model_id="echo", output_path="out", **arguments)
    def rows():
        yield 1

    with DAG("wrong"), pytest.raises(BasetenInputError):
        rows()


def test_a_job_version_counts_for_callables(baseten, run_dag, tmp_path):
    def run(version):
        @task.baseten_batch(
            model_id="echo", output_path=str(tmp_path), model_input=lambda row: version and row, job_version=version[0]
        )
        def rows():
            return [{"text": "a"}]

        with DAG(f"version_{version}") as dag:
            rows()
        return run_dag(dag).state

    assert [run(version) for version in ("1a", "1b", "2a")] == ["success", "success", "failed"]
    assert len(baseten.requests) == 1
