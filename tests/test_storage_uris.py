"""URIs of storage with a password: refused wherever one can be given, and never repeated in an error."""

import subprocess
import sys

import pytest
from airflow.sdk import DAG

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_no_password
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.part_rows import read_rows
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.operators.async_predict import BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchMergeOperator
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.webhook.relay_queue import RelayQueue

PASSWORD = "s3cr3t-pw"
URI = f"s3://user:{PASSWORD}@bucket/folder"
MODEL = {"task_id": "t", "model_id": "a"}


def job(**paths):
    return BatchJob(**({"target": Target(model_id="a"), "inputs": [1], "output_path": "file:///nowhere"} | paths))


@pytest.mark.parametrize(
    "use",
    [
        lambda: BasetenPredictOperator(**MODEL, model_input=1, output_path=URI),
        lambda: BasetenAsyncPredictOperator(**MODEL, model_input=1, result_path=URI),
        lambda: BasetenAsyncRequestSensor(**MODEL, request_ids="r1", result_path=URI),
        lambda: BasetenBatchPredictOperator(**MODEL, inputs=[1], output_path=URI),
        lambda: BasetenBatchPredictOperator(**MODEL, input_path=URI, output_path="file:///nowhere"),
        lambda: BasetenBatchMergeOperator(task_id="t", output_path=URI, num_shards=1),
        lambda: job(output_path=URI),
        lambda: job(inputs=None, input_path=URI),
        lambda: ResultStore(URI),
        lambda: RelayQueue(URI),
        lambda: next(read_rows([f"{URI}/part.jsonl"])),
    ],
)
def test_a_password_is_refused(use):
    with pytest.raises(BasetenInputError, match="has a colon before its '@'") as raised:
        use()
    assert PASSWORD not in str(raised.value)


def test_a_password_in_the_connection(connect):
    connect(password="abcd1234.s3cr3t", extra={"result_store": URI})
    with pytest.raises(BasetenInputError, match=r"^result_store of connection 'baseten_default' has a colon") as raised:
        BasetenHook().connection  # noqa: B018
    assert PASSWORD not in str(raised.value)


def test_a_password_in_the_configuration(monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", URI)
    for read in (config.RESULT_STORE.get, ResultStore):
        with pytest.raises(BasetenInputError, match=r"^\[baseten\] result_store has a colon") as raised:
            read()
        assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("uri", ["results", "./results", "~/results"])
def test_a_relative_result_store_is_refused(connect, monkeypatch, uri):
    connect(password="abcd1234.s3cr3t", extra={"result_store": uri})
    with pytest.raises(BasetenInputError, match=r"^result_store of connection .* is a relative path"):
        BasetenHook().connection  # noqa: B018
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", uri.removeprefix("~/"))  # Airflow replaces "~" itself.
    with pytest.raises(BasetenInputError, match=r"^\[baseten\] result_store is a relative path"):
        ResultStore()


@pytest.mark.processes
@pytest.mark.parametrize(
    "command",
    [
        ["airflow_provider_baseten.cli", "relay", "--once", "--queue", URI],
        ["airflow_provider_baseten.webhook", "--port", "0", "--result-store", URI],
    ],
)
def test_a_password_in_a_command(command, monkeypatch):
    monkeypatch.setenv("BASETEN_WEBHOOK_SECRETS", "s3cr3t")
    run = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 2, run.stderr
    assert "has a colon before its '@'" in run.stderr
    assert PASSWORD not in run.stdout + run.stderr


@pytest.mark.parametrize("native", [False, True])
def test_a_password_that_a_template_brings_is_not_stored(run_dag, native):
    with DAG(f"password_in_uri_{native}", schedule=None, render_template_as_native_obj=native) as dag:
        path = "{{ 's3://user:" + PASSWORD + "' }}@bucket/folder/"
        BasetenPredictOperator(**MODEL, model_input=1, output_path=path)
    run = run_dag(dag)
    assert run.states["t"] == "failed"
    assert run.rendered["t[-1]"]["output_path"] == "(str, not shown)"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://aws_default@bucket/folder",
        "s3://bucket/10:30@noon/folder",
        "hdfs://namenode:8020/folder",
        "s3://aws_default@arn:aws:s3:us-west-2:123456789012:accesspoint/name/folder",
        "file:///folder/a:b@c",
        "file:///a:b@c",
        "/folder/a:b@c",
        "s3://{{ dag.dag_id[:4] }}_s3@bucket/folder",
        "s3://{{ var.value.get('a:b', 'aws') }}@bucket/folder",
    ],
)
def test_other_uris_are_valid(uri):
    check_no_password("output_path", uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://user:pw@bucket",
        "s3://AKIA:s3/cr3t@bucket/folder",
        "s3://AKIA:s3?cr3t#1@bucket/folder",
        "s3://{{ var.value.user }}:pw@bucket/folder",
        "s3:/user:pw@bucket",
        "//user:pw@bucket",
        "file://user:pw@/folder",
        "simplecache::sftp://user:pw@host/folder",
    ],
)
def test_passwords_are_found(uri):
    with pytest.raises(BasetenInputError, match="output_path has a colon"):
        check_no_password("output_path", uri)
