"""A bucket on an S3 server, and the function that writes deliveries into it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.webhook.connections import Connections
from airflow_provider_baseten.webhook.relay import Relay
from airflow_provider_baseten.webhook.relay_queue import RelayQueue
from tests.relay.function_url import event, load_function
from tests.s3_server import S3Server
from tests.webhook.deliveries import connection, signature

_numbers = count()


@dataclass
class Bucket:
    """A bucket of the S3 server."""

    name: str
    client: Any

    def uri(self, folder: str) -> str:
        return f"s3://aws_default@{self.name}/{folder}"

    def keys(self, folder: str = "queue/") -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=folder).get("Contents", [])
        return [entry["Key"] for entry in found]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def move(self, source: str, target: str) -> None:
        self.client.copy_object(Bucket=self.name, Key=target, CopySource={"Bucket": self.name, "Key": source})
        self.client.delete_object(Bucket=self.name, Key=source)


@pytest.fixture(scope="package")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The S3 server; Airflow's connection ``aws_default`` and AWS's libraries lead there."""
    from airflow.sdk.io import store

    log = tmp_path_factory.mktemp("s3") / "log"
    with S3Server(log) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    for name in [name for name in store._STORE_CACHE if name.startswith("s3")]:
        del store._STORE_CACHE[name]


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket(f"bucket-{next(_numbers)}", s3.client)
    bucket.client.create_bucket(Bucket=bucket.name)
    monkeypatch.setenv("BUCKET", bucket.name)
    return bucket


@pytest.fixture
def function(s3: S3Server, tmp_path: Path) -> Any:
    """The module of the function."""
    return load_function(tmp_path)


@pytest.fixture
def send(bucket: Bucket, function: Any) -> Callable[..., int]:
    """Send a delivery to the function; the value is the status."""

    def send(content: bytes, *secrets: str, conn_id: str = "prod", **headers: str) -> int:
        given = {"X-BASETEN-SIGNATURE": signature(content, *secrets), "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): text for name, text in headers.items()}
        return function.handle(event(f"/baseten/webhooks/{conn_id}", content, given), None)["statusCode"]

    return send


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file://{tmp_path}/results"


@pytest.fixture
def make_relay(store: str) -> Callable[..., Relay]:
    def make(uri: str | os.PathLike[str], lookup: Any = None, **options: Any) -> Relay:
        known = {"prod": connection(store)}
        options = {"tolerance": 300.0, "max_body_bytes": 1 << 20} | options
        return Relay(RelayQueue(str(uri)), Connections(lookup or known.get, seconds=0), **options)

    return make
