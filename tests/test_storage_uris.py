"""URIs of storage with a password: refused wherever one can be given, and never repeated in an error."""

import subprocess
import sys

import pytest

from airflow_provider_baseten import config
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_no_password
from airflow_provider_baseten.batch.job import BatchJob
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
    ],
)
def test_a_password_is_refused(use):
    with pytest.raises(BasetenInputError, match="has a password before its '@'") as raised:
        use()
    assert PASSWORD not in str(raised.value)


def test_a_password_in_the_connection(connect):
    connect(password="abcd1234.s3cr3t", extra={"result_store": URI})
    with pytest.raises(
        BasetenInputError, match=r"^result_store of connection 'baseten_default' has a password"
    ) as raised:
        BasetenHook().connection  # noqa: B018
    assert PASSWORD not in str(raised.value)


def test_a_password_in_the_configuration(monkeypatch):
    monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", URI)
    for read in (config.RESULT_STORE.get, ResultStore):
        with pytest.raises(BasetenInputError, match=r"^\[baseten\] result_store has a password") as raised:
            read()
        assert PASSWORD not in str(raised.value)


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
    assert "has a password before its '@'" in run.stderr
    assert PASSWORD not in run.stdout + run.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "s3://aws_default@bucket/folder",
        "s3://bucket/10:30@noon/folder",
        "hdfs://namenode:8020/folder",
        "s3://aws_default@arn:aws:s3:us-west-2:123456789012:accesspoint/name/folder",
        "file:///folder/a:b@c",
        "/folder/a:b@c",
    ],
)
def test_other_uris_are_valid(uri):
    check_no_password("output_path", uri)
