"""The secret that the page on connections shows is read by AWS Secrets Manager's backend."""

import boto3
import pytest
from moto import mock_aws

from airflow_provider_baseten.hooks.connection import BasetenConnection
from tests.docs_blocks.collect import blocks

JSON = [block.text for block in blocks() if (block.page, block.language) == ("connection.rst", "json")]


def test_aws_secrets_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    [secret] = [text for text in JSON if "conn_type" in text]
    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="airflow/connections/baseten_default", SecretString=secret)
        found = SecretsManagerBackend().get_connection("baseten_default")
    connection = BasetenConnection.from_airflow(found)
    assert (connection.api_key, connection.result_store) == ("abcd1234.abcd1234", "s3://aws_default@bucket/baseten")
