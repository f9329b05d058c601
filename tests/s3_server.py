"""S3 server of moto on a free port of 127.0.0.1, a process that can be away for a while without losing objects."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tools.airflow_stack import Service, free_port

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[1]
START_SECONDS = 60
KEYS = {"aws_access_key_id": "of-the-tests", "aws_secret_access_key": "of-the-tests"}
REGION = "us-east-1"


class S3Server(Service):
    """The server, with buckets.

    :param log: file for its output
    :param buckets: names of the buckets that it has from the start
    """

    def __init__(self, log: Path, *buckets: str) -> None:
        self._port = free_port()
        self._buckets = buckets
        self.url = f"http://127.0.0.1:{self._port}"
        command = [sys.executable, "-m", "tests.s3_server", str(self._port)]
        super().__init__("S3 server", command, log, env=os.environ | {"PYTHONPATH": str(ROOT)})

    def __enter__(self) -> Self:
        super().__enter__()
        self.wait_for_http(self.url, START_SECONDS)
        for bucket in self._buckets:
            self.client.create_bucket(Bucket=bucket)
        return self

    @property
    def client(self) -> Any:
        """A client of boto3 for this server."""
        import boto3

        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, **KEYS)

    @property
    def connection(self) -> dict[str, Any]:
        """The fields of an Airflow connection to this server."""
        login, password = KEYS.values()
        extra = {"endpoint_url": self.url, "region_name": REGION}
        return {"conn_type": "aws", "login": login, "password": password, "extra": extra}

    @property
    def environment(self) -> dict[str, str]:
        """The connection ``aws_default``, and what AWS's libraries read, as environment variables."""
        login, password = KEYS.values()
        return {
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(self.connection),
            "AWS_ACCESS_KEY_ID": login,
            "AWS_SECRET_ACCESS_KEY": password,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def fill(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Let a bucket have these objects and no others."""
        client = self.client
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=entry["Key"])
        for key, content in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=content)

    def read(self, uri: str) -> bytes:
        """Return the content of the object at a URI such as ``s3://aws_default@bucket/key``."""
        bucket, _, key = uri.removeprefix("s3://").rpartition("@")[2].partition("/")
        content: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server accept connections and not respond, for as long as the block lasts."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Let the server refuse connections for as long as the block lasts."""
        self.send(signal.SIGUSR1)
        try:
            yield
        finally:
            self.send(signal.SIGUSR2)
            self.wait_for_http(self.url, START_SECONDS)


def serve(port: int) -> None:
    """Serve until the process ends: SIGUSR1 closes the port, SIGUSR2 opens it again."""
    signals = {signal.SIGUSR1, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = _listening(port)
    while True:
        if signal.sigwait(signals) is signal.SIGUSR1:
            server.stop()
        else:
            server = _listening(port)


def _listening(port: int) -> "ThreadedMotoServer":
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return server


if __name__ == "__main__":
    serve(int(sys.argv[1]))
