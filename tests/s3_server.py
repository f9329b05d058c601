"""An S3 server on a free port of 127.0.0.1, with buckets that a test makes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.airflow_stack import Service, free_port

# Any keys are valid ones for the server.
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Run the server; the value is its URL.

    :param buckets: names of the buckets that it has.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with (
        TemporaryDirectory(prefix="s3-") as folder,
        Service("S3 server", command, Path(folder) / "server.log") as server,
    ):
        url = f"http://127.0.0.1:{port}"
        server.wait_for_http(url, 60)
        for bucket in buckets:
            s3_client(url).create_bucket(Bucket=bucket)
        yield url


def s3_client(url: str) -> Any:
    """A client of the server."""
    import boto3

    return boto3.client("s3", endpoint_url=url, **KEYS)


def aws_environment(url: str) -> dict[str, str]:
    """The connection ``aws_default``, and what AWS's libraries read, as environment variables."""
    login, password, region = KEYS.values()
    connection = {
        "conn_type": "aws",
        "login": login,
        "password": password,
        "extra": {"endpoint_url": url, "region_name": region},
    }
    return {
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AWS_ACCESS_KEY_ID": login,
        "AWS_SECRET_ACCESS_KEY": password,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": url,
        "NO_PROXY": "127.0.0.1,localhost",
    }
